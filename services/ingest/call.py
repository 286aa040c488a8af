"""One RPC in work: its id, what is passed on to Kafka, how it is answered, and the line it leaves in the log."""

from __future__ import annotations

import logging
import os
from typing import NoReturn, TypeAlias

import grpc
from google.rpc.code_pb2 import Code
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status
from structlog.contextvars import bind_contextvars

from common.logs import log_limited, logger
from services.ingest.metadata import REQUEST_ID, read_metadata

Context: TypeAlias = grpc.aio.ServicerContext[bytes, bytes]
REQUEST_ID_BYTES = 16
# The gateway's idiom for a success other than 200.
HTTP_CODE = "x-http-code"
CREATED, MULTI_STATUS = "201", "207"


class Call:
    """What a client sent beside its message, and the two ways to end: `succeed` and `fail`."""

    def __init__(self, context: Context) -> None:
        sent = read_metadata(context.invocation_metadata() or ())
        self._context = context
        self.authorizations = sent.authorizations
        # Made here, an id is in the log and the answer; Kafka gets what the client sent, for each header costs there.
        self.headers = sent.headers
        self.request_id = sent.request_id or os.urandom(REQUEST_ID_BYTES).hex()
        # A call has a task of its own, so nobody else's lines get this id.
        bind_contextvars(request_id=self.request_id)

    async def succeed(self, accepted: int, rejected: int = 0) -> None:
        """Begin an answer of OK, with the HTTP status that the gateway shall give."""
        code = MULTI_STATUS if rejected else CREATED
        logger().debug("accepted", events=accepted, rejected=rejected)
        await self._context.send_initial_metadata(((HTTP_CODE, code), (REQUEST_ID, self.request_id)))

    async def fail(self, status: Status) -> NoReturn:
        """End the call with a google.rpc.Status."""
        assert status.code  # noqa: S101 -- OK is not an error
        code = Code.Name(status.code)
        logger().debug("refused", code=code, reason=status.message)
        log_limited(logging.INFO, f"calls are refused with {code}", reason=status.message)
        answer = rpc_status.to_status(status)
        trailing = (*answer.trailing_metadata, (REQUEST_ID, self.request_id))
        await self._context.abort_with_status(Failure(answer.code, answer.details, trailing))


class Failure(grpc.Status):
    """An error as gRPC sends it."""

    def __init__(self, code: grpc.StatusCode, details: str, trailing: tuple[tuple[str, str | bytes], ...]) -> None:
        self.code = code
        self.details = details
        self.trailing_metadata = trailing
