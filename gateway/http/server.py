"""The server below the gateway: aiohttp's, with google.rpc.Status for what is not HTTP at all."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator

from aiohttp import HttpVersion11
from aiohttp.web import BaseRequest, RequestHandler, Response, Server, StreamResponse
from google.rpc import code_pb2

from common.logs import log_limited
from gateway.dynamic import Dynamic
from gateway.errors import JSON
from gateway.http.body import CONTINUE
from gateway.http.connections import Connections
from gateway.http.parser import StrictParser
from gateway.http.refusals import HEADERS_MAX, LINE_BYTES_MAX, MalformedRequestError
from gateway.http.slow_readers import WriteWatch
from gateway.transcoding import to_json

# Beside the headers the parser in Python counts the request line and the empty one.
HEAD_LINES_MAX = HEADERS_MAX + 2
# How long what a client sends after a refusal is read and dropped.
LINGER_SECONDS = 1.0
# How often a client that sends no more is asked whether it is there, while it waits for its answer.
PROBE_SECONDS = 1.0
# No version of a library; no guess of a browser what an answer may be.
OF_EVERY_ANSWER = {"Server": "gateway", "X-Content-Type-Options": "nosniff"}
Handler = Callable[[BaseRequest], Awaitable[StreamResponse]]


class StatusServer(Server):
    """Makes a handler for each connection; `open_connections` are those of all handlers."""

    def __init__(self, handler: Handler, open_connections: Connections, **options: Dynamic) -> None:
        """`options` are those of aiohttp's Server."""
        super().__init__(handler, **options)
        self.open_connections = open_connections

    def __call__(self) -> RequestHandler:
        """Return the handler of a new connection."""
        return StatusHandler(self, self.open_connections, loop=self._loop, **self._kwargs)


class StatusHandler(RequestHandler):
    """Handles one connection."""

    def __init__(
        self, server: Server, open_connections: Connections, answer_seconds_max: float, **options: Dynamic
    ) -> None:
        """Handle a connection that is not yet open."""
        limits: Dynamic = {"max_line_size": LINE_BYTES_MAX, "max_field_size": LINE_BYTES_MAX}
        super().__init__(server, max_headers=HEAD_LINES_MAX, **limits, **options)
        self._parser: Dynamic = StrictParser(self._parser)
        self._ended: asyncio.Future[None] | None = None
        self._is_half_closed = False
        self._watch = WriteWatch(self._loop, answer_seconds_max)
        self.is_in_work = False
        self._open_connections = open_connections

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        super().connection_made(transport)
        self._watch.transport = self.transport
        self._open_connections.opened(self)

    def data_received(self, data: bytes) -> None:
        """Read what has come."""
        super().data_received(data)
        self._open_connections.heard(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        """End."""
        self._set_ended()
        self._watch.end()
        self._open_connections.closed(self)
        super().connection_lost(exc)

    def has_request(self) -> bool:
        """Whether the head of a request is there and its answer is not."""
        return bool(self._messages) or self._current_request is not None

    def is_waiting(self) -> bool:
        """Whether the next request is waited for."""
        return self._waiter is not None and not self._waiter.done()

    def drop(self) -> None:
        """Close it at once."""
        self.force_close()

    async def finish_response(
        self, request: BaseRequest, resp: StreamResponse, start_time: float | None
    ) -> tuple[StreamResponse, bool]:
        """Send an answer; after a refusal read on for a moment, or the answer would be lost."""
        if self._is_half_closed and not self._messages:
            resp.force_close()
        sent = await super().finish_response(request, resp, start_time)
        if self._parser is not None and self._parser.is_broken:
            await self._linger()
        if self._is_half_closed and not self._messages:
            self._close = True
        self._watch.begin()
        return sent

    async def _linger(self) -> None:
        """Read and drop for a moment: bytes that nobody has read make the system reset a connection that it closes."""
        self._close = True  # which makes `data_received` drop what comes
        if self.transport is None or not self.transport.can_write_eof():
            return
        self.transport.write_eof()
        self._ended = self._loop.create_future()
        await asyncio.wait([self._ended], timeout=LINGER_SECONDS)

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio's own type, which aiohttp makes narrower
        """Keep the connection for the answers of a client that only sends no more; it may also be gone."""
        self._is_half_closed = True
        self._set_ended()
        if self._parser is None or self._parser.is_in_body():
            return False  # which closes it: the request can never be complete
        is_kept = bool(self._messages) or (self._request_count > 0 and not self.is_waiting())
        if is_kept:
            self._loop.call_later(PROBE_SECONDS, self._probe)
        return is_kept

    def _probe(self) -> None:
        """Send what HTTP lets every client pass over: one that is gone answers with a reset, and is not worked for."""
        request = self._current_request
        if self.transport is None or request is None or request.writer.output_size > 0:
            return
        if request.version >= HttpVersion11:
            self.transport.write(CONTINUE)
            self._loop.call_later(PROBE_SECONDS, self._probe)

    def _set_ended(self) -> None:
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)

    def pause_writing(self) -> None:
        """Note that the client takes its answer slower than it is written."""
        super().pause_writing()
        self._watch.begin()

    def resume_writing(self) -> None:
        """Note that the client has taken most of what was written."""
        super().resume_writing()
        self._watch.is_moving = True

    def force_close(self) -> None:
        """Close the connection, what is written to it included if the client does not take it."""
        self._watch.begin()
        super().force_close()

    def handle_error(
        self,
        request: BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 -- the library's own words
    ) -> StreamResponse:
        """Answer a request that could not be read; the connection is closed after it."""
        if isinstance(exc, ConnectionError):
            log_limited(logging.INFO, "a client left before its answer")
            raise exc
        error = exc
        if not isinstance(error, MalformedRequestError):
            log_limited(logging.ERROR, "a request failed", exc_info=exc)
            error = MalformedRequestError("internal error", status, code_pb2.INTERNAL)
        if request.writer.output_size > 0:
            raise ConnectionError("a part of the answer has been sent")
        # A line, no stack: it is the client's mistake, and anybody can make it as often as they like.
        log_limited(logging.INFO, "refused what is not HTTP", status=int(error.status), reason=error.message)
        return refusal(error)

    def log_exception(self, *args: Dynamic, **kw: Dynamic) -> None:
        """Log what aiohttp did not expect; that a connection ended is nothing of the kind."""
        error = kw.get("exc_info")
        if not isinstance(error, ConnectionError):
            log_limited(logging.ERROR, "handling a connection failed", exc_info=error, text=str(args[:1]))


@contextlib.contextmanager
def in_work(request: BaseRequest) -> Iterator[None]:
    """Mark a request's connection as one that must not make room for others."""
    handler = request.protocol
    if not isinstance(handler, StatusHandler):  # the connection is gone
        yield
        return
    handler.is_in_work = True
    try:
        yield
    finally:
        handler.is_in_work = False


def refusal(error: MalformedRequestError) -> Response:
    """Return the last answer on a connection."""
    body = to_json({"code": error.grpc_code, "message": error.message, "details": []})
    answer = Response(status=error.status, body=body, content_type=JSON, headers=OF_EVERY_ANSWER)
    answer.force_close()
    return answer
