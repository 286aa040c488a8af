"""What became of a call that failed: the service's own error, or what gRPC's library made of a broken connection."""

from __future__ import annotations

from collections.abc import Mapping

import grpc
from google.rpc import code_pb2, status_pb2

from gateway.dynamic import Dynamic
from gateway.errors import CallError, status_of
from gateway.http.metadata import Pair, retry_after

DETAILS = "grpc-status-details-bin"
TIMED_OUT = "context deadline exceeded"
UNREACHED = "the service behind the gateway cannot be reached"
LOST = "the connection to the service broke before it answered; whether it acted on the request is unknown"
NOT_TAKEN = "the service did not take the call"
NOT_GRPC = "what answered for the service does not speak gRPC"
HEADERS_TOO_LARGE = "the headers that go on to the service are larger than it takes"
TOO_LARGE = "the service's answer is larger than the gateway takes"

# How texts of gRPC's library begin, in the order they are looked for; held by tests against the library in use.
LIBRARY_TEXTS: Mapping[str, str] = {
    "CLIENT: Received message larger": TOO_LARGE,
    "Stream removed (CLIENT: Received message larger": TOO_LARGE,
    "Stream removed (received metadata size exceeds": TOO_LARGE,
    "received metadata size exceeds": HEADERS_TOO_LARGE,
    "Stream removed": LOST,
    "RST_STREAM": LOST,
    "Received RST_STREAM": LOST,
    "Received http2 header": NOT_GRPC,
    "Cancelling all calls": LOST,
    "Socket closed": LOST,
    "GOAWAY": LOST,
    "keepalive watchdog": LOST,
    "ping timeout": LOST,
    "recvmsg": LOST,
    "sendmsg": LOST,
    "errors resolving": UNREACHED,
    "failed to connect": UNREACHED,
    "connections to all backends fail": UNREACHED,
    "empty address list": UNREACHED,
    "DNS resolution failed": UNREACHED,
}
# No text with one of these is shown, whoever wrote it.
ADDRESSES = ("ipv4:", "ipv6:", "unix:", "unix-abstract:", "vsock:")
# Codes which the library gives to a connection that broke: the client may send its request again.
BROKEN = frozenset({code_pb2.CANCELLED, code_pb2.UNKNOWN, code_pb2.INTERNAL, code_pb2.PERMISSION_DENIED})
# What a server's library gives as the text of a call that it dropped from its queue.
DROPPED = frozenset({"", "cancelled"})
REPLACED_CODES: Mapping[str, int] = {
    TIMED_OUT: code_pb2.DEADLINE_EXCEEDED,
    UNREACHED: code_pb2.UNAVAILABLE,
    # To try again does not help.
    TOO_LARGE: code_pb2.INTERNAL,
    HEADERS_TOO_LARGE: code_pb2.INVALID_ARGUMENT,
}


def call_error(error: grpc.aio.AioRpcError) -> CallError:
    """Translate gRPC's exception; CANCELLED is UNAVAILABLE, because a client that left gets no answer at all."""
    trailing = pairs(error.trailing_metadata())
    rich = next((value for name, value in trailing if name == DETAILS and isinstance(value, bytes)), None)
    code: int = error.code().value[0]
    status = status_of(code, error.details() or "", rich)
    if not status.details:
        status = without_library(status)
    if status.code == code_pb2.CANCELLED:
        status = status_pb2.Status(code=code_pb2.UNAVAILABLE, message=status.message, details=status.details)
    delay = retry_after(trailing)
    headers = {"Retry-After": delay} if delay else None
    return CallError(status, headers, pairs(error.initial_metadata()), trailing)


def without_library(status: Dynamic) -> Dynamic:
    """Return a status with words of the gateway where the library wrote the text, and a code that helps the client."""
    text = library_text(status.code, status.message)
    if text is None:
        return status
    code = REPLACED_CODES.get(text, code_pb2.UNAVAILABLE if text != NOT_GRPC and status.code in BROKEN else status.code)
    return status_pb2.Status(code=code, message=text)


def library_text(code: int, text: str) -> str | None:
    """Return what the gateway puts in the place of a text of the library; None when the service wrote it."""
    if code == code_pb2.CANCELLED and text.lower() in DROPPED:
        return NOT_TAKEN
    if code == code_pb2.DEADLINE_EXCEEDED and "Deadline Exceeded" in text:
        return TIMED_OUT
    shown = next((shown for beginning, shown in LIBRARY_TEXTS.items() if text.startswith(beginning)), None)
    if shown == LOST and code == code_pb2.RESOURCE_EXHAUSTED:
        return NOT_TAKEN
    return LOST if shown is None and any(mark in text for mark in ADDRESSES) else shown


def pairs(metadata: grpc.aio.Metadata | None) -> list[Pair]:
    """Return metadata as a list of pairs."""
    return [(str(name), value) for name, value in metadata or ()]
