"""What carries one request of a load at a time: an HTTP/1.1 connection, or one of the calls of a gRPC channel."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol, cast

from tests.support.load.errors import RefusedError
from tests.support.load.http2 import GrpcConnection

CONNECT_SECONDS_MAX = 10.0
HEAD_END = b"\r\n\r\n"
LENGTH = b"content-length:"


class Slot(Protocol):
    """Carries one request at a time."""

    def send(self, body: int, done: Callable[[], None]) -> None:
        """Send the body of this number, modulo their count; `done` is called after a successful answer."""


class HttpSlot(asyncio.Protocol):
    """One HTTP/1.1 connection that stays open. It parses as little as it must, so that it uses little CPU."""

    def __init__(self, requests: Sequence[bytes], status: bytes, failed: asyncio.Future[None]) -> None:
        self._requests = requests
        self._wanted = b"HTTP/1.1 " + status
        self._failed = failed
        self._received = b""
        self._end = 0
        self._done: Callable[[], None] | None = None
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        # uvloop's transports are not of asyncio's classes.
        self._transport = cast("asyncio.WriteTransport", transport)

    def send(self, body: int, done: Callable[[], None]) -> None:
        """Send a request."""
        assert self._transport is not None, "the connection is not open"
        assert self._done is None, "a request is under way"
        self._done = done
        self._transport.write(self._requests[body % len(self._requests)])

    def data_received(self, data: bytes) -> None:
        """Collect the answer; when it is complete, call what waits for it."""
        self._received = received = self._received + data if self._received else data
        if not self._end:
            head = received.find(HEAD_END)
            if head < 0:
                return None
            lowered = received[:head].lower()
            at = lowered.find(LENGTH)
            if at < 0 or not received.startswith(self._wanted):
                return self._fail(f"unexpected answer: {received[:500]!r}")
            self._end = head + len(HEAD_END) + int(lowered[at + len(LENGTH) :].split(b"\r\n", 1)[0])
        if len(received) < self._end:
            return None
        done, self._done, self._received, self._end = self._done, None, b"", 0
        if done is None:
            return self._fail(f"an answer without a request: {received[:500]!r}")
        done()
        return None

    def connection_lost(self, error: Exception | None) -> None:
        """End the load if an answer is missing."""
        if self._done is not None:
            self._fail(f"the connection was lost: {error}")

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()

    def _fail(self, reason: str) -> None:
        if not self._failed.done():
            self._failed.set_exception(RefusedError(reason))


class GrpcSlot:
    """One of the calls in flight on a connection."""

    def __init__(self, connection: GrpcConnection) -> None:
        self._connection = connection

    def send(self, body: int, done: Callable[[], None]) -> None:
        """Start a call."""
        self._connection.send(body, done)


def http_request(address: str, path: str, body: bytes) -> bytes:
    """Return a POST of JSON with the headers that a client sends anyway."""
    lines = (
        f"POST {path} HTTP/1.1",
        f"Host: {address}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    )
    return "\r\n".join((*lines, "", "")).encode() + body


async def connect(address: str, requests: Sequence[bytes], status: bytes, failed: asyncio.Future[None]) -> HttpSlot:
    """Open a connection."""
    host, _, port = address.rpartition(":")
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(CONNECT_SECONDS_MAX):
        _, slot = await loop.create_connection(lambda: HttpSlot(requests, status, failed), host, int(port))
    return slot


async def connect_grpc(
    address: str, method: str, bodies: Sequence[bytes], failed: asyncio.Future[None], *, is_refused: bool = False
) -> GrpcConnection:
    """Open a connection for gRPC."""
    host, _, port = address.rpartition(":")
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(CONNECT_SECONDS_MAX):
        _, connection = await loop.create_connection(
            lambda: GrpcConnection(address, method, bodies, failed, is_refused=is_refused), host, int(port)
        )
        await connection.ready
    return connection
