"""The responses of an operation: the statuses that the service declares and those that the gateway itself returns."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from http import HTTPStatus
from typing import Any, TypeAlias

from gateway.openapi.schemas import STATUS, Json, reference

Statuses: TypeAlias = Mapping[int, str]
# What a service that declares no success status may choose by the metadata x-http-code.
ANY_SUCCESS = "2XX"
METHODS_WITH_BODY = ("POST", "PUT", "PATCH", "DELETE")
# Returned by the gateway for every operation; a service may return some of them too.
OF_EVERY_OPERATION: Statuses = {
    HTTPStatus.BAD_REQUEST: (
        "The request is not valid: malformed JSON, a value of a wrong type, or a value that the service rejects. "
        "`message` names the field, `details` may hold a `google.rpc.BadRequest` with the violations. "
        "Do not send it again unchanged."
    ),
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: (
        "The headers are larger than the limit, which `message` names, or than a call to the service can carry."
    ),
    HTTPStatus.SERVICE_UNAVAILABLE: (
        "The service cannot be reached or cannot serve the request at present, or a limit of concurrent requests is "
        "reached. Send the request again after the delay."
    ),
    HTTPStatus.GATEWAY_TIMEOUT: (
        "The service did not respond in time: in the time of the header `Grpc-Timeout`, or in the gateway's own limit. "
        "Whether it acted on the request is unknown."
    ),
}
OF_BODIES: Statuses = {
    HTTPStatus.REQUEST_TIMEOUT: "The body did not arrive in time; `message` names the limit.",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: (
        "The body is larger than the limit after decompression, which `message` names. Split it."
    ),
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "The `Content-Encoding` is not supported: use `gzip` or none.",
    HTTPStatus.TOO_MANY_REQUESTS: (
        "Too many compressed bodies of this client were rejected. Send the request again after the delay."
    ),
}
# Of an operation with a security requirement.
UNAUTHENTICATED: Statuses = {HTTPStatus.UNAUTHORIZED: "The credentials are missing, not valid or expired."}
SHARED: Statuses = {**OF_EVERY_OPERATION, **OF_BODIES, **UNAUTHENTICATED}
OTHERWISE = "An unexpected error response."

HEADERS: dict[str, Json] = {
    "Retry-After": {"description": "Seconds to wait before the next attempt.", "schema": {"type": "integer"}},
    "WWW-Authenticate": {"description": "The authentication scheme (RFC 6750).", "schema": {"type": "string"}},
    "X-Unknown-Fields": {
        "description": "Ignored JSON names of the request, which the method does not have, separated by commas.",
        "schema": {"type": "string"},
    },
}
HEADERS_OF_ERRORS: Statuses = {
    HTTPStatus.UNAUTHORIZED: "WWW-Authenticate",
    HTTPStatus.TOO_MANY_REQUESTS: "Retry-After",
    HTTPStatus.SERVICE_UNAVAILABLE: "Retry-After",
}


def responses(answer: Json, text: str, declared: Statuses, method: str, *, is_secured: bool) -> Json:
    """Return an operation's responses by status.

    `answer` is the schema of a success and `text` its description where none is declared.
    """
    with_body = method in METHODS_WITH_BODY
    made: Json = {}
    successes = {str(status): given for status, given in declared.items() if status < HTTPStatus.MULTIPLE_CHOICES}
    for status, given in (successes or {ANY_SUCCESS: text}).items():
        headers = header_references("X-Unknown-Fields") if with_body else {}
        made[status] = {"description": given, **headers, "content": json_content(answer)}
    own = {**OF_EVERY_OPERATION, **(OF_BODIES if with_body else {}), **(UNAUTHENTICATED if is_secured else {})}
    failures = {status: given for status, given in declared.items() if status >= HTTPStatus.MULTIPLE_CHOICES}
    for code in sorted(own.keys() | failures.keys()):
        made[str(int(code))] = failure(code, own, failures)
    made["default"] = {"description": OTHERWISE, "content": json_content(reference(STATUS))}
    return made


def failure(status: int, own: Statuses, declared: Statuses) -> Json:
    """Return the response of an error, by reference where the service adds nothing to what the gateway states."""
    if status not in declared:
        return {"$ref": f"#/components/responses/{int(status)}"}
    return error_response(status, " ".join(texts[status] for texts in (declared, own) if status in texts))


def error_response(status: int, text: str) -> Json:
    """Return a response that is a google.rpc.Status."""
    name = HEADERS_OF_ERRORS.get(status)
    headers = header_references(name) if name is not None else {}
    return {"description": text, **headers, "content": json_content(reference(STATUS))}


def shared_responses(statuses: Collection[str]) -> Json:
    """Return the responses that operations with these statuses refer to."""
    made = {str(int(status)): error_response(status, text) for status, text in sorted(SHARED.items())}
    return {status: response for status, response in made.items() if status in statuses}


def header_references(name: str) -> Json:
    """Return the headers of a response that has one."""
    return {"headers": {name: {"$ref": f"#/components/headers/{name}"}}}


def json_content(schema: Json, example: Any = None) -> Json:  # noqa: ANN401 -- any JSON
    """Return a body that is JSON of a schema."""
    return {"application/json": {"schema": schema, **({} if example is None else {"example": example})}}
