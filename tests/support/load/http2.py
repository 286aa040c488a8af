"""The part of HTTP/2 that unary gRPC calls need, written for a load generator: it uses little CPU a call.

The answers are small, so the windows for them are opened once. Their headers are not decoded: a call has succeeded
exactly when a message came before the trailers, because gRPC answers an error with trailers alone. A load may consist
of calls that are to fail.
"""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from collections.abc import Callable, Sequence
from typing import cast

from tests.support.load.errors import RefusedError

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, END_HEADERS, ACK = 1, 4, 1
MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE = 3, 4
WINDOW, WINDOW_MAX, FRAME_MAX = 65_535, 2**31 - 1, 16_384
FRAME_HEAD = 9
# An answer that lists rejected events is longer.
ANSWER_BYTES_MAX = 64
METHOD_POST, SCHEME_HTTP = b"\x83", b"\x86"
# Indices of HPACK's static table, for names, and the first of the dynamic table.
AUTHORITY, PATH, CONTENT_TYPE, USER_AGENT, DYNAMIC = 1, 4, 31, 58, 62


class GrpcConnection(asyncio.Protocol):
    """One HTTP/2 connection that calls one method."""

    def __init__(
        self,
        authority: str,
        method: str,
        bodies: Sequence[bytes],
        failed: asyncio.Future[None],
        *,
        is_refused: bool = False,
        metadata: Sequence[tuple[str, str]] = (),
    ) -> None:
        """With `is_refused` an error is the answer that is expected; every call has the `metadata`."""
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._messages = [b"\0" + len(body).to_bytes(4, "big") + body for body in bodies]
        self._failed = failed
        self._is_refused = is_refused
        first, later = header_blocks(authority, method)
        own = b"".join(b"\x00" + text(name) + text(value) for name, value in metadata)
        self._block, self._later_block = first + own, later + own
        self._stream = 1
        self._calls: dict[int, Callable[[], None]] = {}
        self._answered: set[int] = set()
        self._received = b""
        self._written: list[bytes] = []
        self._reading = False
        # What may be sent, on the connection and on each stream that still has something to send.
        self._window, self._stream_window = WINDOW, WINDOW
        self._unsent: deque[tuple[int, memoryview]] = deque()
        self._windows: dict[int, int] = {}
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the preface; a stream's answer has a window that it never fills."""
        # uvloop's transports are not of asyncio's classes.
        self._transport = cast("asyncio.WriteTransport", transport)
        settings = frame(SETTINGS, 0, 0, struct.pack(">HI", INITIAL_WINDOW_SIZE, WINDOW_MAX))
        self._write(PREFACE + settings + frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", WINDOW_MAX - WINDOW)))

    def send(self, body: int, done: Callable[[], None]) -> None:
        """Start a call with the body of this number, modulo their count."""
        stream, self._stream = self._stream, self._stream + 2
        self._calls[stream] = done
        self._windows[stream] = self._stream_window
        self._write(frame(HEADERS, END_HEADERS, stream, self._block))
        self._block = self._later_block
        self._unsent.append((stream, memoryview(self._messages[body % len(self._messages)])))
        self._send_unsent()

    def data_received(self, data: bytes) -> None:
        """Handle all complete frames, then write what they caused at once."""
        received = self._received + data if self._received else data
        at, end = 0, len(received)
        self._reading = True
        while end - at >= FRAME_HEAD:
            after = at + FRAME_HEAD + int.from_bytes(received[at : at + 3], "big")
            if after > end:
                break
            stream = int.from_bytes(received[at + 5 : at + FRAME_HEAD], "big")
            self._handle(received[at + 3], received[at + 4], stream, received[at + FRAME_HEAD : after])
            at = after
        self._received = received[at:]
        self._reading = False
        self._write(b"")

    def connection_lost(self, error: Exception | None) -> None:
        """End the load if an answer is missing."""
        if self._calls:
            self._fail(f"the connection was lost: {error}")

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()

    def _handle(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == DATA:
            if len(payload) > ANSWER_BYTES_MAX:
                self._fail(f"unexpected answer: {payload[:500]!r}")
            self._answered.add(stream)
        elif kind == HEADERS and flags & END_STREAM:
            if (stream in self._answered) == self._is_refused:
                return self._fail(f"a call {'did not fail' if self._is_refused else 'failed'}: {payload!r}")
            self._answered.discard(stream)
            self._calls.pop(stream)()
        elif kind == PING and not flags & ACK:
            self._write(frame(PING, ACK, 0, payload))
        elif kind == SETTINGS and not flags & ACK:
            self._apply(payload)
        elif kind == WINDOW_UPDATE:
            self._widen(stream, int.from_bytes(payload, "big"))
        elif kind in (RST_STREAM, GOAWAY):
            self._fail(f"the server ended a stream or the connection: {payload!r}")
        return None

    def _apply(self, payload: bytes) -> None:
        """Take the server's settings over."""
        for name, value in struct.iter_unpack(">HI", payload):
            if name == INITIAL_WINDOW_SIZE:
                more, self._stream_window = value - self._stream_window, value
                self._windows = {stream: window + more for stream, window in self._windows.items()}
        self._write(frame(SETTINGS, ACK, 0, b""))
        if not self.ready.done():
            self.ready.set_result(None)
        self._send_unsent()

    def _widen(self, stream: int, more: int) -> None:
        if not stream:
            self._window += more
        elif stream in self._windows:
            self._windows[stream] += more
        self._send_unsent()

    def _send_unsent(self) -> None:
        """Send what the windows permit, one stream after the other."""
        while self._unsent:
            stream, rest = self._unsent[0]
            size = min(len(rest), FRAME_MAX, self._window, self._windows[stream])
            if size <= 0:
                return
            self._window -= size
            self._windows[stream] -= size
            is_last = size == len(rest)
            self._write(frame(DATA, END_STREAM if is_last else 0, stream, rest[:size]))
            if is_last:
                self._unsent.popleft()
                del self._windows[stream]
            else:
                self._unsent[0] = stream, rest[size:]

    def _write(self, data: bytes) -> None:
        """Write now, or after all frames at hand have been handled."""
        if data:
            self._written.append(data)
        if self._written and not self._reading:
            assert self._transport is not None, "the connection is not open"
            self._transport.write(b"".join(self._written))
            self._written.clear()

    def _fail(self, reason: str) -> None:
        if not self._failed.done():
            self._failed.set_exception(RefusedError(reason))


def frame(kind: int, flags: int, stream: int, payload: bytes | memoryview) -> bytes:
    """Return a frame of HTTP/2."""
    return b"".join((len(payload).to_bytes(3, "big"), bytes((kind, flags)), stream.to_bytes(4, "big"), payload))


def header_blocks(authority: str, method: str) -> tuple[bytes, bytes]:
    """Return the headers of the first call, which fills the server's table, and of later ones, which refer to it."""
    names = (AUTHORITY, authority), (PATH, method), (CONTENT_TYPE, "application/grpc"), (USER_AGENT, "ugc-bench")
    first = b"".join(bytes((0x40 | name,)) + text(value) for name, value in names)
    first += b"\x40" + text("te") + text("trailers")
    later = bytes(0x80 | index for index in range(DYNAMIC + len(names), DYNAMIC - 1, -1))
    return METHOD_POST + SCHEME_HTTP + first, METHOD_POST + SCHEME_HTTP + later


def text(value: str) -> bytes:
    """Return a string of HPACK that is shorter than 127 bytes."""
    assert len(value) < 127, value
    return bytes((len(value),)) + value.encode()
