"""The server below the gateway: aiohttp's, with google.rpc.Status for what is not HTTP at all."""

from __future__ import annotations

from aiohttp.web import BaseRequest, RequestHandler, Response, Server, StreamResponse
from google.rpc import code_pb2

from gateway.errors import JSON
from gateway.transcoding import to_json


class StatusServer(Server):
    """Makes a handler for each connection."""

    def __call__(self) -> RequestHandler:
        """Return the handler of a new connection."""
        return StatusHandler(self, loop=self._loop, **self._kwargs)


class StatusHandler(RequestHandler):
    """Handles one connection."""

    def handle_error(
        self,
        request: BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> StreamResponse:
        """Answer a request that could not be read; the connection is closed after it."""
        answer = super().handle_error(request, status, exc, message)
        code = code_pb2.INTERNAL if status >= 500 else code_pb2.INVALID_ARGUMENT
        # What follows the first line is the bytes themselves, which are the client's already.
        text = (message or "internal error").partition("\n")[0].rstrip(" :")
        body = to_json({"code": code, "message": text, "details": []})
        refused = Response(status=answer.status, body=body, content_type=JSON)
        refused.force_close()
        return refused
