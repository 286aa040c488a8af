"""The server below the gateway: aiohttp's, with google.rpc.Status for what is not HTTP at all."""

from __future__ import annotations

from http import HTTPStatus

from aiohttp.web import BaseRequest, RequestHandler, Response, Server, StreamResponse
from google.rpc import code_pb2

from gateway.errors import JSON
from gateway.quoting import limited
from gateway.transcoding import to_json
from services.runtime.logs import logger

NEW_LINE = "\n"


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


def refusal(status: int, code: int, text: str) -> Response:
    """Return the last answer on a connection."""
    answer = Response(status=status, body=to_json({"code": code, "message": text, "details": []}), content_type=JSON)
    answer.force_close()
    return answer
