"""The HTTP server below the gateway, and its connections, which may give a request to the fast lane."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, cast

from aiohttp.web import BaseRequest, RequestHandler, Server, StreamResponse

from gateway.http.connection import ConnectionHandler, ConnectionLimits, Refused
from gateway.http.connections import Connections
from gateway.http.handshake import Handshake, Tls

# For how long the rest of an ordinary request is awaited before what has arrived is parsed in the usual way.
GATHER_SECONDS = 0.02
# The limit of all connections together; what is beyond it is parsed at once.
GATHERED_BYTES_MAX = 33_554_432

Handler = Callable[[BaseRequest], Awaitable[StreamResponse]]


class RequestLane(Protocol):
    """Answers some requests without aiohttp."""

    def size(self, data: bytes) -> int:
        """Return the size of the request that the data begins with, if the lane may take it; 0 if not."""

    def begin(self, connection: LaneHandler, data: bytes) -> bool:
        """Begin to answer the request that the data is, on a connection without another one; False to leave it."""


class HttpServer(Server):
    """Makes a handler for each connection; `open_connections` are those of all handlers."""

    def __init__(
        self,
        handler: Handler,
        open_connections: Connections,
        limits: ConnectionLimits,
        lane: RequestLane | None,
        refused: Refused,
        tls: Tls | None = None,
    ) -> None:
        """Answer requests by the handler, those that the lane takes by the lane; with `tls`, by TLS only."""
        super().__init__(handler)
        self._tls = tls
        self._refused = refused
        self._open_connections = open_connections
        self._limits = limits
        self._lane = lane
        # The sizes of the requests that are being gathered.
        self.gathered_bytes = 0

    def __call__(self) -> RequestHandler:
        """Return the protocol of a new connection: its handler, or the handshake before that."""
        handler = self._handler()
        if self._tls is None:
            return handler
        handshake = Handshake(handler, self._tls, self._loop, self._open_connections)
        return cast("RequestHandler", handshake)  # the event loop needs a protocol

    def _handler(self) -> ConnectionHandler:
        if self._lane is None:
            return ConnectionHandler(self, self._loop, self._open_connections, self._limits, self._refused)
        return LaneHandler(self, self._loop, self._open_connections, self._limits, self._refused, self._lane)


@dataclass
class Gathered:
    """The beginning of a request, whose other bytes are awaited; and the waiter of the task of the connection."""

    pieces: list[bytes]
    size: int
    missing: int
    waiter: asyncio.Future[None] | None
    timer: asyncio.TimerHandle


class LaneHandler(ConnectionHandler):
    """Handles one connection whose ordinary requests go on the lane.

    Meanwhile the task of aiohttp waits for the next request. What arrives is parsed, and handled after the response.
    """

    def __init__(
        self,
        server: HttpServer,
        loop: asyncio.AbstractEventLoop,
        open_connections: Connections,
        limits: ConnectionLimits,
        refused: Refused,
        lane: RequestLane,
    ) -> None:
        """Handle a connection that is not yet open."""
        super().__init__(server, loop, open_connections, limits, refused)
        self._lane = lane
        self.lane_peer: tuple[str, bool] | None = None
        self._server = server
        self._gathered: Gathered | None = None
        # What arrived before the task of the connection waits for it.
        self._early = b""

    def data_received(self, data: bytes) -> None:
        """Parse received bytes, gather those of a request for the lane, or let the lane take them."""
        self._parse_early()
        gathered = self._gathered
        if gathered is not None:
            gathered.pieces.append(data)
            gathered.missing -= len(data)
            if gathered.missing <= 0:
                self._end_gathering()
        elif data and self._waiter is None and self._task_handler is not None and self._is_free():
            # The task of the connection waits from its next turn on, which comes before that of this callback.
            self._early = data
            self._loop.call_soon(self._begin_early)
        else:
            self._begin(data)

    def _begin(self, data: bytes) -> None:
        """Let the lane take bytes, gather them for it, or parse them."""
        if not self._is_ready() or not (self._lane.begin(self, data) or self._begin_gathering(data)):
            super().data_received(data)

    def _begin_early(self) -> None:
        data, self._early = self._early, b""
        if data:
            self._begin(data)

    def _parse_early(self) -> None:
        """Parse what arrived early, because something follows it."""
        data, self._early = self._early, b""
        if data:
            super().data_received(data)

    def _begin_gathering(self, data: bytes) -> bool:
        """Keep the beginning of a request that the lane may take; False when it is not one."""
        size = self._lane.size(data)
        if not size or self._server.gathered_bytes + size > GATHERED_BYTES_MAX:
            return False
        waiter, self._waiter = self._waiter, None  # so that the connection does not count as idle
        timer = self._loop.call_later(GATHER_SECONDS, self._end_gathering)
        self._gathered = Gathered([data], size, size - len(data), waiter, timer)
        self._server.gathered_bytes += size
        self._open_connections.touch(self)
        return True

    def _end_gathering(self) -> None:
        """Let the lane take what has been gathered, or parse it, after what arrived early."""
        self._parse_early()
        data = self._taken_pieces()
        if data and not (self._is_ready() and self._lane.begin(self, data)):
            super().data_received(data)

    def _taken_pieces(self) -> bytes:
        """Return what has been gathered, and gather no more."""
        gathered, self._gathered = self._gathered, None
        if gathered is None:
            return b""
        gathered.timer.cancel()
        self._server.gathered_bytes -= gathered.size
        self._waiter = gathered.waiter
        return b"".join(gathered.pieces)

    def has_request(self) -> bool:
        """Whether a request's head has arrived and its response has not been sent."""
        return self._gathered is not None or super().has_request()

    def eof_received(self) -> bool:  # type: ignore[override]  # as in ConnectionHandler
        """Parse what has been gathered before the end of it is noted."""
        self._end_gathering()
        return super().eof_received()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forget the connection, and what has been gathered: there is nobody to answer."""
        self._taken_pieces()
        super().connection_lost(exc)

    def close(self) -> None:
        """Parse what has been gathered, so that its request is answered before the connection is closed."""
        self._end_gathering()
        super().close()

    def force_close(self) -> None:
        """Close the connection at once."""
        self._end_gathering()
        super().force_close()

    async def shutdown(self, timeout: float | None = 15.0) -> None:  # noqa: ASYNC109 -- aiohttp's own signature
        """Finish the request in progress within the timeout, and close the connection."""
        self._end_gathering()
        await super().shutdown(timeout)

    def _is_ready(self) -> bool:
        """Whether the task of the connection waits, and the next request may go on the lane."""
        waiter = self._waiter
        return waiter is not None and not waiter.done() and self._is_free()

    def _is_free(self) -> bool:
        """Whether nothing is in progress on the connection, so that the next request may go on the lane."""
        return (
            self._strict_parser.is_between
            and not (self._messages or self._request_in_progress or self._upgraded or self._is_half_closed)
            and not (self._close or self._force_close)
            and not (self._paused or self._reading_paused or self._buffer_paused)
        )

    def remote_address(self) -> str:
        """Return the address of the client, empty when it has none."""
        peer = self.peername
        return str(peer[0] if isinstance(peer, (list, tuple)) else peer or "")

    def hold(self) -> None:
        """Begin a request on the lane: what arrives is parsed, but waits for `finish`."""
        self._held, self._waiter = self._waiter, None
        self._request_count += 1
        self._request_in_progress = True
        self._strict_parser.skip_request()
        self._open_connections.note_request(self)

    def is_last(self) -> bool:
        """Whether the client sends nothing more, so that the connection closes after the response."""
        return self._is_half_closed and not self._messages

    def finish(self, response: bytes, *, is_last: bool) -> None:
        """Write the response of a request on the lane, and let the task of the connection go on."""
        waiter, self._held = self._held, None
        self.is_in_flight = self._request_in_progress = False
        if self._handler_waiter is not None:
            self._handler_waiter.set_result(None)
        if self.transport is None or waiter is None or waiter.done():
            return
        self.transport.write(response)
        self._watchdog.begin()
        self._waiter = waiter
        if self._force_close:
            waiter.cancel()  # `shutdown` goes on when the task has ended
            return
        if is_last or self._close:
            self.close()
            self.transport.close()
            return
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        if self._keepalive_handle is None:
            self._keepalive_handle = self._loop.call_at(self._next_keepalive_close_time, self._process_keepalive)
        if self._messages:
            waiter.set_result(None)
