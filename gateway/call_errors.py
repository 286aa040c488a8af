"""Errors of failed calls: the service's own, and those that the gRPC library makes of a broken connection."""

from __future__ import annotations

from collections.abc import Mapping

import grpc
from google.protobuf.message import DecodeError
from google.rpc import code_pb2, status_pb2

from gateway.errors import RESPONSE_TOO_LARGE, CallError, Metadata, Pair
from gateway.http.metadata import retry_after

DETAILS = "grpc-status-details-bin"
DEADLINE_EXCEEDED = "context deadline exceeded"
UNREACHABLE = "the service behind the gateway cannot be reached"
CONNECTION_LOST = "the connection to the service broke before it answered; whether it acted on the request is unknown"
CALL_DROPPED = "the service dropped the call"
NOT_GRPC = "the response did not come from a gRPC service"
REQUEST_HEADERS_TOO_LARGE = "the headers forwarded to the service are larger than it accepts"

# How texts of the gRPC library begin, in the order in which they are matched; tests hold them to the library in use.
LIBRARY_TEXTS: Mapping[str, str] = {
    "CLIENT: Received message larger": RESPONSE_TOO_LARGE,
    "Stream removed (CLIENT: Received message larger": RESPONSE_TOO_LARGE,
    "Stream removed (received metadata size exceeds": RESPONSE_TOO_LARGE,
    "received metadata size exceeds": REQUEST_HEADERS_TOO_LARGE,
    "Stream removed": CONNECTION_LOST,
    "RST_STREAM": CONNECTION_LOST,
    "Received RST_STREAM": CONNECTION_LOST,
    "Received http2 header": NOT_GRPC,
    "Cancelling all calls": CONNECTION_LOST,
    "Socket closed": CONNECTION_LOST,
    "GOAWAY": CONNECTION_LOST,
    "keepalive watchdog": CONNECTION_LOST,
    "max connection age": CONNECTION_LOST,
    "ping timeout": CONNECTION_LOST,
    "recvmsg": CONNECTION_LOST,
    "sendmsg": CONNECTION_LOST,
    "errors resolving": UNREACHABLE,
    "failed to connect": UNREACHABLE,
    "connections to all backends fail": UNREACHABLE,
    "empty address list": UNREACHABLE,
    "DNS resolution failed": UNREACHABLE,
}
# How the library's text ends for a stream that the server has refused.
STREAM_REFUSED = "Received RST_STREAM with error code 7))"
# A text that contains an address is never shown, even one of the service.
ADDRESS_SCHEMES = ("ipv4:", "ipv6:", "unix:", "unix-abstract:", "vsock:")
# Codes that the library gives to a broken connection: the client can retry.
BROKEN_CONNECTION_CODES = frozenset(
    {code_pb2.CANCELLED, code_pb2.UNKNOWN, code_pb2.INTERNAL, code_pb2.PERMISSION_DENIED}
)
# The texts of a call that a gRPC server dropped from its queue.
DROPPED_TEXTS = frozenset({"", "cancelled"})
REPLACED_CODES: Mapping[str, int] = {
    DEADLINE_EXCEEDED: code_pb2.DEADLINE_EXCEEDED,
    UNREACHABLE: code_pb2.UNAVAILABLE,
    # A retry does not help.
    RESPONSE_TOO_LARGE: code_pb2.INTERNAL,
    REQUEST_HEADERS_TOO_LARGE: code_pb2.INVALID_ARGUMENT,
}


def call_error(error: grpc.aio.AioRpcError) -> CallError:
    """Translate an exception of gRPC; CANCELLED becomes UNAVAILABLE, because the client itself did not cancel."""
    initial, trailing = pairs(error.initial_metadata()), pairs(error.trailing_metadata())
    code: int = error.code().value[0]
    return verdict(code, error.details() or "", initial, trailing)


def is_unreachable(error: grpc.aio.AioRpcError) -> bool:
    """Whether the text is that of a call for which the library had no connection."""
    return replaced_text(error.code().value[0], error.details() or "") == UNREACHABLE


def is_refused(error: grpc.aio.AioRpcError) -> bool:
    """Whether the server has refused the stream of a call, which it does before any processing (RFC 9113, 8.7)."""
    return error.code() is grpc.StatusCode.UNAVAILABLE and (error.details() or "").endswith(STREAM_REFUSED)


def verdict(code: int, text: str, initial: Metadata, trailing: Metadata) -> CallError:
    """Return the error of a call that has ended with a status other than OK."""
    rich = next((value for name, value in trailing if name == DETAILS and isinstance(value, bytes)), None)
    status = rpc_status(code, text, rich)
    if not status.details:
        status = without_library_text(status)
    if status.code == code_pb2.CANCELLED:
        status = status_pb2.Status(code=code_pb2.UNAVAILABLE, message=status.message, details=status.details)
    delay = retry_after(trailing)
    headers = {"Retry-After": delay} if delay else None
    return CallError(status, headers, initial, trailing)


def rpc_status(code: int, message: str, details: bytes | None) -> status_pb2.Status:
    """Return the google.rpc.Status of a failed call: the one in its metadata, or else one of code and message."""
    if details:
        try:
            status = status_pb2.Status.FromString(details)
        except DecodeError:  # a mistake of the service, which must not hide its code
            status = None
        if status is not None and status.code == code:
            return status
    return status_pb2.Status(code=code, message=message)


def without_library_text(status: status_pb2.Status) -> status_pb2.Status:
    """Return a status whose text and code are the gateway's where the library wrote the text."""
    text = replaced_text(status.code, status.message)
    if text is None:
        return status
    code = REPLACED_CODES.get(
        text, code_pb2.UNAVAILABLE if text != NOT_GRPC and status.code in BROKEN_CONNECTION_CODES else status.code
    )
    return status_pb2.Status(code=code, message=text)


def replaced_text(code: int, text: str) -> str | None:
    """Return the gateway's text for one of the library; None when the service wrote it."""
    if code == code_pb2.CANCELLED and text.lower() in DROPPED_TEXTS:
        return CALL_DROPPED
    if code == code_pb2.DEADLINE_EXCEEDED and "Deadline Exceeded" in text:
        return DEADLINE_EXCEEDED
    shown = next((shown for prefix, shown in LIBRARY_TEXTS.items() if text.startswith(prefix)), None)
    if shown == CONNECTION_LOST and code == code_pb2.RESOURCE_EXHAUSTED:
        return CALL_DROPPED
    return CONNECTION_LOST if shown is None and any(scheme in text for scheme in ADDRESS_SCHEMES) else shown


def pairs(metadata: grpc.aio.Metadata | None) -> list[Pair]:
    """Return metadata as a list of pairs."""
    return [(str(name), value) for name, value in metadata or ()]


def text_of(value: bytes) -> str:
    """Return a name or a text of metadata, as the gRPC library reads it."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")
