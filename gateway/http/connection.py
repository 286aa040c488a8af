"""A connection of the HTTP server: aiohttp's, which answers malformed requests with google.rpc.Status."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import NamedTuple, cast

from aiohttp import HttpVersion11
from aiohttp.http_parser import HttpRequestParser
from aiohttp.web import BaseRequest, RequestHandler, Server, StreamResponse
from google.rpc import code_pb2

from common.logs import log_limited
from gateway.http.body import CONTINUE
from gateway.http.connections import Connection, Connections
from gateway.http.error_responses import malformed_response
from gateway.http.head import REQUEST_ID
from gateway.http.parser import AiohttpParser, StrictParser
from gateway.http.refusals import HEADERS_MAX, LINE_BYTES_MAX, MalformedRequestError
from gateway.http.slow_readers import WriteWatchdog

# The parser in Python also counts the request line and the empty line.
HEAD_LINES_MAX = HEADERS_MAX + 2
# For how long bytes that a client sends after a refusal are read and discarded.
LINGER_SECONDS = 1.0
# The same for the rest of a body that was refused.
BODY_LINGER_SECONDS = 2.0
# How often a half-closed connection is probed for its client, which waits for a response.
PROBE_SECONDS = 1.0


# Gets the status of the response to a request that could not be parsed.
Refused = Callable[[int], None]


class ConnectionLimits(NamedTuple):
    """An idle connection is closed after `keepalive_seconds`; `answer_seconds_max` is that of WriteWatchdog."""

    keepalive_seconds: float
    answer_seconds_max: float


class ConnectionHandler(RequestHandler):
    """Handles one connection."""

    def __init__(
        self,
        server: Server,
        loop: asyncio.AbstractEventLoop,
        open_connections: Connections,
        limits: ConnectionLimits,
        refused: Refused,
    ) -> None:
        """Handle a connection that is not yet open."""
        super().__init__(
            server,
            loop=loop,
            access_log=None,  # type: ignore[arg-type]  # aiohttp takes None for no log
            auto_decompress=False,
            keepalive_timeout=limits.keepalive_seconds,
            lingering_time=BODY_LINGER_SECONDS,
            max_headers=HEAD_LINES_MAX,
            max_line_size=LINE_BYTES_MAX,
            max_field_size=LINE_BYTES_MAX,
        )
        self._strict_parser = StrictParser(cast("AiohttpParser", self._parser))
        self._parser = cast("HttpRequestParser", self._strict_parser)
        self._ended: asyncio.Future[None] | None = None
        self._is_half_closed = False
        self._watchdog = WriteWatchdog(loop, limits.answer_seconds_max)
        self.is_in_flight = False
        # The transport of the encrypted bytes, when the connection's own is of TLS, and the handshake before it.
        self.lower_transport: asyncio.Transport | None = None
        self.handshake: Connection | None = None
        self._open_connections = open_connections
        self._refused = refused
        # What the task of the connection waits for, while a request on the lane is in progress.
        self._held: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Register the connection."""
        super().connection_made(transport)
        self._watchdog.transport = self.transport
        self._watchdog.lower = self.lower_transport
        since = self._open_connections.discard(self.handshake) if self.handshake is not None else None
        self._open_connections.add(self)
        self._open_connections.await_head(self, since)

    async def start(self) -> None:
        """Handle requests until the connection is closed, or about to be."""
        await super().start()
        self._watchdog.close()

    def data_received(self, data: bytes) -> None:
        """Parse received bytes."""
        super().data_received(data)
        self._open_connections.touch(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forget the connection."""
        self._set_ended()
        self._watchdog.end()
        self._open_connections.discard(self)
        super().connection_lost(exc)
        if self._held is not None:
            self._held.cancel()

    def has_request(self) -> bool:
        """Whether a request's head has arrived and its response has not been sent."""
        return bool(self._messages) or self._current_request is not None or self._held is not None

    def is_waiting(self) -> bool:
        """Whether the connection waits for the next request."""
        return self._waiter is not None and not self._waiter.done()

    def drop(self) -> None:
        """Close it at once."""
        self.force_close()
        if self.lower_transport is not None:
            # TLS would wait until the client closes it too.
            self.lower_transport.abort()

    async def finish_response(
        self, request: BaseRequest, resp: StreamResponse, start_time: float | None
    ) -> tuple[StreamResponse, bool]:
        """Send a response; after a refusal read on for a moment, or the response would be lost."""
        if self._is_half_closed and not self._messages:
            resp.force_close()
        sent = await super().finish_response(request, resp, start_time)
        if self._parser is not None and self._strict_parser.is_broken:
            await self._linger()
        if self._is_half_closed and not self._messages:
            self._close = True
        self._watchdog.begin()
        return sent

    async def _linger(self) -> None:
        """Read and discard for a moment: the system resets a connection that is closed with unread bytes."""
        self._close = True  # makes `data_received` discard what it gets
        if self.transport is None or not self.transport.can_write_eof():
            return
        self.transport.write_eof()
        self._ended = self._loop.create_future()
        await asyncio.wait([self._ended], timeout=LINGER_SECONDS)

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio's own type, which aiohttp makes narrower
        """Keep a half-closed connection until its responses are sent; its client may also have disconnected.

        TLS of the event loops has no half-closed connections: the end of what the client sends is that of both.
        """
        self._is_half_closed = True
        self._set_ended()
        self._watchdog.close()
        if self.lower_transport is not None or self._parser is None or self._strict_parser.is_in_body():
            return False  # closes the connection: the request can never be complete
        is_kept = bool(self._messages) or (self._request_count > 0 and not self.is_waiting())
        if is_kept:
            self._loop.call_later(PROBE_SECONDS, self._probe)
        return is_kept

    def _probe(self) -> None:
        """Send `100 Continue`, which every client ignores: a reset shows that the client has disconnected."""
        request = self._current_request
        if self.transport is None or (request is None and self._held is None):
            return
        if request is not None and request.writer.output_size > 0:
            return
        if request is None or request.version >= HttpVersion11:
            self.transport.write(CONTINUE)
            self._loop.call_later(PROBE_SECONDS, self._probe)

    def _set_ended(self) -> None:
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)

    def pause_writing(self) -> None:
        """Note that the client reads its response slower than it is written."""
        super().pause_writing()
        self._watchdog.begin()

    def resume_writing(self) -> None:
        """Note that the client has read most of what was written."""
        super().resume_writing()
        self._watchdog.is_moving = True

    def force_close(self) -> None:
        """Close the connection, even when the client does not read what was written to it."""
        self._watchdog.begin()
        self._watchdog.close()
        super().force_close()

    def handle_error(
        self,
        request: BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 -- a text of the library
    ) -> StreamResponse:
        """Answer a request that could not be parsed; the connection is closed after it."""
        if isinstance(exc, ConnectionError):
            log_limited(logging.INFO, "a client disconnected before its response")
            raise exc
        error = exc
        if not isinstance(error, MalformedRequestError):
            log_limited(logging.ERROR, "a request failed", exc_info=exc)
            error = MalformedRequestError("internal error", status, code_pb2.INTERNAL)
        if request.writer.output_size > 0:
            raise ConnectionError("a part of the response has been sent")
        response = malformed_response(error)
        if error is exc:
            self._refused(response.status)  # any other failure is that of a request that is counted already
        log_limited(
            logging.INFO,
            "refused a malformed request",
            status=response.status,
            reason=error.message,
            request_id=response.headers[REQUEST_ID],
        )
        return response

    def log_exception(self, *args: object, **kw: object) -> None:
        """Log an exception that aiohttp did not expect, unless it is the end of a connection."""
        error = kw.get("exc_info")
        if not isinstance(error, ConnectionError):
            log_limited(logging.ERROR, "handling a connection failed", exc_info=error, text=str(args[:1]))


@contextlib.contextmanager
def in_flight(connection: BaseRequest) -> Iterator[None]:
    """Mark a connection as one that is not closed to make room for others."""
    handler = connection.protocol
    if not isinstance(handler, ConnectionHandler):  # the client has disconnected
        yield
        return
    handler.is_in_flight = True
    try:
        yield
    finally:
        handler.is_in_flight = False
