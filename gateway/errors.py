"""The gateway's exceptions, each with the gRPC code and the HTTP status that its client gets.

GatewayError                a response other than success: gRPC code, message, HTTP status, headers
+-- RequestError            400: the request cannot become the method's message
|   +-- UndecodableError    400: the JSON of a body is malformed or has a wrong type
|   +-- MalformedBodyError  400: the chunks of a body are malformed; nothing more is read from the connection
+-- NotFoundError           404: no route has this path
+-- WrongMethodError        405: the path has routes for other methods only
+-- BodyTooSlowError        408: the client did not send its body in time
+-- BodyTooLargeError       413
+-- HeadersTooLargeError    431: the headers are larger than a call to the service can carry
+-- BodyEncodingError       415: an unsupported Content-Encoding
+-- ExpectationError        417: an Expect header other than 100-continue
+-- OverloadedError         503: a limit of concurrent requests or bytes is reached
+-- CallError               the service returned an error, or could not be reached
DescriptorError             the descriptor set cannot be served; the process refuses to start
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus

from google.protobuf import any_pb2
from google.rpc import code_pb2, status_pb2

# The nonstandard status that grpc-gateway and nginx give to a request whose client went away.
CLIENT_CLOSED_REQUEST = 499
# A client's value or name is cut to this length in a message.
QUOTED_CHARACTERS_MAX = 100
# A whole message of the gateway; it may quote several values.
MESSAGE_CHARACTERS_MAX = 1_000
ELLIPSIS = "..."
RESPONSE_TOO_LARGE = "the service's response is larger than the gateway accepts"

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
# gRPC metadata, or one entry of it; only the values of names that end in `-bin` are bytes.
Pair = tuple[str, str | bytes]
Metadata = Sequence[Pair]


class DescriptorError(Exception):
    """The descriptor set cannot be served; the text is for the operator."""


class GatewayError(Exception):
    """A response other than success; subclasses set the code and the HTTP status."""

    code: int = code_pb2.INTERNAL
    http_status: int | None = None

    def __init__(self, message: str, headers: Mapping[str, str] | None = None) -> None:
        self.message = quoted(message, MESSAGE_CHARACTERS_MAX)
        super().__init__(self.message)
        self.headers = dict(headers or {})

    @property
    def details(self) -> Sequence[any_pb2.Any]:
        """The details of the error; by default none."""
        return ()

    @property
    def status(self) -> int:
        """The HTTP status of the response."""
        return self.http_status or HTTP_STATUSES.get(self.code, HTTPStatus.INTERNAL_SERVER_ERROR)


class RequestError(GatewayError):
    """The request cannot become the method's message; the text names the field."""

    code = code_pb2.INVALID_ARGUMENT


class UndecodableError(RequestError):
    """The body is not the JSON of the method's message."""


class MalformedBodyError(RequestError):
    """The end of the body cannot be found, so nothing that follows on the connection can be read."""

    def __init__(self) -> None:
        super().__init__("malformed request: the chunks of the body")


class NotFoundError(GatewayError):
    """No route has this path."""

    code = code_pb2.NOT_FOUND


class WrongMethodError(GatewayError):
    """The path has routes for other methods only; `Allow` lists them."""

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
    """The headers that are forwarded to the service are larger than the limit, which the text names."""

    code = code_pb2.RESOURCE_EXHAUSTED
    http_status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE

    def __init__(self, bytes_max: int) -> None:
        super().__init__(f"the headers forwarded to the service are larger than {bytes_max} bytes")


class BodyEncodingError(GatewayError):
    """The gateway does not support the Content-Encoding of the body."""

    code = code_pb2.INVALID_ARGUMENT
    http_status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE


class ExpectationError(GatewayError):
    """The gateway does not support the expectation of the Expect header."""

    code = code_pb2.INVALID_ARGUMENT
    http_status = HTTPStatus.EXPECTATION_FAILED


class OverloadedError(GatewayError):
    """A limit of the gateway is reached; the response carries a delay after which the client can retry."""

    code = code_pb2.UNAVAILABLE

    def __init__(self, message: str, reason: str = "") -> None:
        """`reason` is one of SHED_REASONS in metrics.py; empty for a page, which is not counted as shed."""
        super().__init__(message)
        self.reason = reason


class CallError(GatewayError):
    """The service returned an error, with metadata before and after it, or could not be reached."""

    def __init__(
        self,
        status: status_pb2.Status,
        headers: Mapping[str, str] | None = None,
        initial: Metadata = (),
        trailing: Metadata = (),
    ) -> None:
        super().__init__("", headers)
        # Not cut: the service limits its own messages.
        self.message: str = status.message
        self.code = status.code
        self.rpc_status = status
        self.initial, self.trailing = initial, trailing

    @property
    def details(self) -> Sequence[any_pb2.Any]:
        """The details that the service returned."""
        return list(self.rpc_status.details)


def rpc_error(code: int, message: str) -> CallError:
    """Return the error of a call that has no status of the service."""
    return CallError(status_pb2.Status(code=code, message=message))


def quoted(text: str, characters_max: int = QUOTED_CHARACTERS_MAX) -> str:
    """Return a client's text as messages, headers and log lines may contain it: short, printable, on one line.

    Control characters, and bytes that were not UTF-8, become escapes.
    """
    short = text if len(text) <= characters_max else text[:characters_max] + ELLIPSIS
    return short if short.isprintable() else "".join(map(printable, short))


def printable(letter: str) -> str:
    """Return a character, or its escape when it cannot be printed."""
    return letter if letter.isprintable() else letter.encode("unicode_escape", "surrogatepass").decode()
