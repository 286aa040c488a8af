"""What can go wrong in the gateway, and how an error looks to a client: google.rpc.Status as JSON.

GatewayError                an answer other than success: gRPC code, message, HTTP status, headers
+-- RequestError            400: the request cannot become the method's message
|   +-- UndecodableError    400: the JSON of a body is malformed or has a wrong type
|   +-- MalformedBodyError  400: the chunks of a body are malformed; nothing more is read from the connection
+-- NotFoundError           404: no route has this path
+-- WrongMethodError        405: the path is known, with other methods
+-- BodyTooSlowError        408: the client did not send its body in time
+-- BodyTooLargeError       413
+-- HeadersTooLargeError    431: more in headers than the service can be told
+-- BodyEncodingError       415: a Content-Encoding that we do not read
+-- ExpectationError        417: an Expect header other than 100-continue
+-- OverloadedError         503: too many requests in work
+-- CallError               the service answered with an error, or could not be reached
DescriptorError             the descriptor set cannot be served; the process refuses to start
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import DecodeError
from google.rpc import code_pb2, error_details_pb2, status_pb2

from gateway.dynamic import Dynamic
from gateway.http.challenge import challenge
from gateway.quoting import limited

JSON = "application/json"
# The nonstandard status that grpc-gateway and nginx give to a request whose client went away.
CLIENT_CLOSED_REQUEST = 499

# Every code of google.rpc.Code, as grpc-gateway v2 maps it.
HTTP_STATUSES: Mapping[int, int] = {
    code_pb2.OK: HTTPStatus.OK,
    code_pb2.CANCELLED: CLIENT_CLOSED_REQUEST,
    code_pb2.UNKNOWN: HTTPStatus.INTERNAL_SERVER_ERROR,
    code_pb2.INVALID_ARGUMENT: HTTPStatus.BAD_REQUEST,
    code_pb2.DEADLINE_EXCEEDED: HTTPStatus.GATEWAY_TIMEOUT,
    code_pb2.NOT_FOUND: HTTPStatus.NOT_FOUND,
    code_pb2.ALREADY_EXISTS: HTTPStatus.CONFLICT,
    code_pb2.PERMISSION_DENIED: HTTPStatus.FORBIDDEN,
    code_pb2.UNAUTHENTICATED: HTTPStatus.UNAUTHORIZED,
    code_pb2.RESOURCE_EXHAUSTED: HTTPStatus.TOO_MANY_REQUESTS,
    code_pb2.FAILED_PRECONDITION: HTTPStatus.BAD_REQUEST,
    code_pb2.ABORTED: HTTPStatus.CONFLICT,
    code_pb2.OUT_OF_RANGE: HTTPStatus.BAD_REQUEST,
    code_pb2.UNIMPLEMENTED: HTTPStatus.NOT_IMPLEMENTED,
    code_pb2.INTERNAL: HTTPStatus.INTERNAL_SERVER_ERROR,
    code_pb2.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    code_pb2.DATA_LOSS: HTTPStatus.INTERNAL_SERVER_ERROR,
}
RETRIABLE_STATUSES = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
# A google.protobuf.Any's bytes and type to JSON, or None for a type that nobody knows.
Metadata = Sequence[tuple[str, str | bytes]]
DetailWriter = Callable[[Dynamic], dict[str, Any] | None]


class DescriptorError(Exception):
    """The descriptor set cannot be served; the text is for the operator."""


class GatewayError(Exception):
    """An answer other than success; subclasses fix the code and the HTTP status."""

    code: int = code_pb2.INTERNAL
    http_status: int | None = None

    def __init__(self, message: str, headers: Mapping[str, str] | None = None) -> None:
        # A path or a query may hold what is not UTF-8, and messages quote it.
        self.message = limited(message)
        super().__init__(self.message)
        self.headers = dict(headers or {})

    @property
    def details(self) -> Sequence[Any]:
        """The error's details, messages of google.protobuf.Any; none unless the service gave some."""
        return ()

    @property
    def status(self) -> int:
        """The HTTP status of the answer."""
        return self.http_status or HTTP_STATUSES.get(self.code, HTTPStatus.INTERNAL_SERVER_ERROR)


class RequestError(GatewayError):
    """The request cannot become the method's message; the text names the field."""

    code = code_pb2.INVALID_ARGUMENT


class UndecodableError(RequestError):
    """A body is not the JSON of the message it should be."""


class MalformedBodyError(RequestError):
    """The body's end cannot be found, so nothing that follows on the connection can be read."""

    def __init__(self) -> None:
        super().__init__("malformed request: the chunks of the body")


class NotFoundError(GatewayError):
    """No route has this path."""

    code = code_pb2.NOT_FOUND


class WrongMethodError(GatewayError):
    """The path has routes, for other methods; `Allow` lists them."""

    code = code_pb2.UNIMPLEMENTED
    http_status = HTTPStatus.METHOD_NOT_ALLOWED

    def __init__(self, allowed: Sequence[str]) -> None:
        super().__init__("Method Not Allowed", {"Allow": ", ".join(allowed)})


class BodyTooSlowError(GatewayError):
    """The client did not send its body in time."""

    code = code_pb2.DEADLINE_EXCEEDED
    http_status = HTTPStatus.REQUEST_TIMEOUT


class BodyTooLargeError(GatewayError):
    """The body is larger than the limit, which the text names."""

    code = code_pb2.RESOURCE_EXHAUSTED
    http_status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE

    def __init__(self, bytes_max: int) -> None:
        super().__init__(f"the body is larger than {bytes_max} bytes, the limit after decompression")


class HeadersTooLargeError(GatewayError):
    """The headers that go on to the service are larger than the limit, which the text names."""

    code = code_pb2.RESOURCE_EXHAUSTED
    http_status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE

    def __init__(self, bytes_max: int) -> None:
        super().__init__(f"the headers that go on to the service are larger than {bytes_max} bytes")


class BodyEncodingError(GatewayError):
    """The body has a Content-Encoding that we do not read."""

    code = code_pb2.INVALID_ARGUMENT
    http_status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE


class ExpectationError(GatewayError):
    """The client expects something of HTTP that we do not know."""

    code = code_pb2.INVALID_ARGUMENT
    http_status = HTTPStatus.EXPECTATION_FAILED


class OverloadedError(GatewayError):
    """Too many requests are in work; `retry_seconds` are set before the answer is written."""

    code = code_pb2.UNAVAILABLE
    retry_seconds: int = 0

    @property
    def details(self) -> Sequence[Any]:
        """When to try again."""
        packed, delay = any_pb2.Any(), duration_pb2.Duration(seconds=self.retry_seconds)
        packed.Pack(error_details_pb2.RetryInfo(retry_delay=delay))
        return (packed,) if self.retry_seconds else ()


class CallError(GatewayError):
    """The service answered with an error, or could not be reached."""

    def __init__(
        self,
        status: Dynamic,
        headers: Mapping[str, str] | None = None,
        initial: Metadata = (),
        trailing: Metadata = (),
    ) -> None:
        super().__init__("", headers)
        # The service's own words: it limits them.
        self.message = status.message
        self.code = status.code
        self.given = status
        # What the service said besides, before and after its error.
        self.initial, self.trailing = initial, trailing

    @property
    def details(self) -> Sequence[Any]:
        """The details that the service gave."""
        return list(self.given.details)


def status_of(code: int, message: str, rich: bytes | None) -> Dynamic:
    """Return the google.rpc.Status of a failed call: the rich one of its metadata, or one made of the rest."""
    if rich:
        try:
            given = status_pb2.Status.FromString(rich)
        except DecodeError:  # the service's own mistake must not hide its code
            given = None
        if given is not None and given.code == code:
            return given
    return status_pb2.Status(code=code, message=message)


def error_headers(error: GatewayError, retry_seconds: int, *, has_token: bool) -> dict[str, str]:
    """Return the answer's headers: Retry-After with every 429 and 503, WWW-Authenticate with every 401."""
    headers = dict(error.headers)
    if error.status in RETRIABLE_STATUSES:
        headers.setdefault("Retry-After", str(retry_delay(error.details) or retry_seconds))
    if error.code == code_pb2.UNAUTHENTICATED:
        headers.setdefault("WWW-Authenticate", challenge(error.message, has_token=has_token))
    return headers


def retry_delay(details: Sequence[Any]) -> int | None:
    """Return the delay of a google.rpc.RetryInfo among the details, in whole seconds rounded up."""
    info = error_details_pb2.RetryInfo()
    for detail in details:
        if detail.Is(info.DESCRIPTOR):
            try:
                info.ParseFromString(detail.value)
            except DecodeError:  # as above
                continue
            delay: int = info.retry_delay.seconds + (info.retry_delay.nanos > 0)
            return max(0, delay)
    return None


def error_body(error: GatewayError, write_detail: DetailWriter) -> bytes:
    """Return google.rpc.Status as grpc-gateway writes it; a detail of unknown type as its @type and base64 value."""
    details = [write_detail(detail) or opaque(detail) for detail in error.details]
    status = {"code": error.code, "message": error.message, "details": details}
    return json.dumps(status, ensure_ascii=False, separators=(",", ":")).encode()


def opaque(detail: Dynamic) -> dict[str, str]:
    """Return a detail of a type that nobody knows."""
    return {"@type": detail.type_url, "value": base64.b64encode(detail.value).decode()}
