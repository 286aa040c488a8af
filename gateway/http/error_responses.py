"""Errors as HTTP responses: google.rpc.Status as JSON, Retry-After and WWW-Authenticate."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from http import HTTPStatus

from aiohttp.web import Response
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import DecodeError
from google.rpc import code_pb2, error_details_pb2

from gateway.errors import CallError, GatewayError, MalformedBodyError, OverloadedError
from gateway.http.head import REQUEST_ID, request_id
from gateway.http.refusals import MalformedRequestError
from gateway.http.responses import COMMON_HEADERS, JSON, add_metadata
from gateway.json.text import JsonObject, to_json
from gateway.json.writer import opaque_any

RETRIABLE_STATUSES = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
REALM = "gateway"
DESCRIPTION_CHARACTERS_MAX = 200
# An error_description may contain neither, RFC 6750 section 3.
QUOTE, BACKSLASH = '"', "\\"

# Returns a detail as JSON, or None when its type is unknown.
DetailWriter = Callable[[any_pb2.Any], JsonObject | None]


def error_response(
    error: GatewayError, write_detail: DetailWriter, retry_seconds: int, *, has_token: bool = False
) -> Response:
    """Return the response of an error.

    `retry_seconds` is the delay of a 429 or 503 that names none; `has_token` says whether the client sent a token.
    """
    details = [retry_info(retry_seconds)] if isinstance(error, OverloadedError) else error.details
    response = Response(body=status_json(error, details, write_detail), status=error.status, content_type=JSON)
    response.headers.update(error.headers)
    if error.status in RETRIABLE_STATUSES:
        response.headers.setdefault("Retry-After", str(retry_delay(details) or retry_seconds))
    if error.code == code_pb2.UNAUTHENTICATED:
        response.headers.setdefault("WWW-Authenticate", challenge(error.message, has_token=has_token))
    if isinstance(error, MalformedBodyError):
        response.force_close()
    if isinstance(error, CallError):
        add_metadata(response, error.initial, error.trailing)
    return response


def malformed_response(error: MalformedRequestError) -> Response:
    """Return the last response on a connection whose client did not send valid HTTP, with an id of its own."""
    body = to_json({"code": error.grpc_code, "message": error.message, "details": []})
    headers = {**COMMON_HEADERS, REQUEST_ID: request_id()}
    response = Response(status=error.status, body=body, content_type=JSON, headers=headers)
    response.force_close()
    return response


def status_json(error: GatewayError, details: Iterable[any_pb2.Any], write_detail: DetailWriter) -> bytes:
    """Return google.rpc.Status as grpc-gateway writes it; a detail of unknown type as its @type and base64 value."""
    written = [write_detail(detail) or opaque_any(detail) for detail in details]
    return to_json({"code": error.code, "message": error.message, "details": written})


def retry_info(seconds: int) -> any_pb2.Any:
    """Return a google.rpc.RetryInfo as a detail."""
    packed = any_pb2.Any()
    packed.Pack(error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=seconds)))
    return packed


def retry_delay(details: Sequence[any_pb2.Any]) -> int | None:
    """Return the delay of a google.rpc.RetryInfo among the details, in whole seconds rounded up."""
    info = error_details_pb2.RetryInfo()
    for detail in details:
        if detail.Is(info.DESCRIPTOR):
            try:
                info.ParseFromString(detail.value)
            except DecodeError:  # a mistake of the service, which must not hide its error
                continue
            delay: int = info.retry_delay.seconds + (info.retry_delay.nanos > 0)
            return max(0, delay)
    return None


def challenge(message: str, *, has_token: bool) -> str:
    """Return WWW-Authenticate of RFC 6750; only clients that sent a token learn why it was refused."""
    if not has_token:
        return f'Bearer realm="{REALM}"'
    return f'Bearer realm="{REALM}", error="invalid_token", error_description="{description(message)}"'


def description(message: str) -> str:
    """Return a message as far as a quoted string of a header can hold it: short, printable ASCII."""
    short = message[:DESCRIPTION_CHARACTERS_MAX].replace(QUOTE, "'").replace(BACKSLASH, "/")
    return "".join(character if " " <= character <= "~" else "?" for character in short)
