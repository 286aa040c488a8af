"""The server below the gateway: aiohttp's, with google.rpc.Status for what is not HTTP at all."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from http import HTTPStatus

from aiohttp.web import BaseRequest, RequestHandler, Response, Server, StreamResponse
from google.rpc import code_pb2

from gateway.connections import Connections
from gateway.dynamic import Dynamic
from gateway.errors import JSON
from gateway.quoting import limited
from gateway.transcoding import to_json
from services.runtime.logs import logger

NEW_LINE = "\n"
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

    def __init__(self, server: Server, open_connections: Connections, **options: Dynamic) -> None:
        """Handle a connection that is not yet open."""
        super().__init__(server, **options)
        self.is_in_work = False
        self._open_connections = open_connections

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        super().connection_made(transport)
        self._open_connections.opened(self)

    def data_received(self, data: bytes) -> None:
        """Read what has come."""
        super().data_received(data)
        self._open_connections.heard(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        """End."""
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

    def handle_error(
        self,
        request: BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> StreamResponse:
        """Answer a request that could not be read; the connection is closed after it."""
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            super().handle_error(request, status, exc, message)  # which logs it whole
            return refusal(status, code_pb2.INTERNAL, "internal error")
        if request.writer.output_size > 0:
            raise ConnectionError("a part of the answer has been sent")
        # What follows the first line is the bytes themselves, which are the client's already.
        text = limited(f"malformed request: {(message or '').partition(NEW_LINE)[0].rstrip(' :')}")
        # A line, no stack: it is the client's mistake, and anybody can make it as often as he likes.
        logger().info("refused what is no HTTP", status=status, reason=text)
        return refusal(status, code_pb2.INVALID_ARGUMENT, text)


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


def refusal(status: int, code: int, text: str) -> Response:
    """Return the last answer on a connection."""
    answer = Response(status=status, body=to_json({"code": code, "message": text, "details": []}), content_type=JSON)
    answer.force_close()
    return answer
