"""A call of a client: its metadata, its two ways to end, and its line in the log."""

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
# With this response metadata a service sets a success status other than 200, as in grpc-gateway.
HTTP_CODE = "x-http-code"
CREATED, MULTI_STATUS = "201", "207"


class Call:
    """The metadata of a call, and its end by `succeed` or `fail`."""

    def __init__(self, context: Context) -> None:
        metadata = read_metadata(context.invocation_metadata() or ())
        self._context = context
        self.authorizations = metadata.authorizations
        # Kafka gets only the client's own headers, as each costs time and space; a generated id is in log and answer.
        self.headers = metadata.headers
        self.request_id = metadata.request_id or os.urandom(REQUEST_ID_BYTES).hex()
        # gRPC runs each call in a task, so no other call's log lines get this id.
        bind_contextvars(request_id=self.request_id)

    async def succeed(self, accepted: int, rejected: int = 0) -> None:
        """Send the initial metadata of an OK response, with the HTTP status for the gateway."""
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
        await self._context.abort_with_status(AbortStatus(answer.code, answer.details, trailing))


class AbortStatus(grpc.Status):
    """A gRPC status with trailing metadata, as `abort_with_status` takes it."""

    def __init__(self, code: grpc.StatusCode, details: str, trailing: tuple[tuple[str, str | bytes], ...]) -> None:
        self.code = code
        self.details = details
        self.trailing_metadata = trailing
