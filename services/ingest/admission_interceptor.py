"""Admission of calls: reads the message of a call, admits it within the limits, and calls the servicer.

The handlers are those of client streams, which gRPC calls before the message has arrived. On the wire a unary call is a
stream of one message, and its cost is the same.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeAlias

import grpc

from services.ingest.call import Call, Context
from services.ingest.error_interceptor import intercept_errors
from services.ingest.errors import deadline_exceeded, invalid_argument, resource_exhausted
from services.ingest.events.violation_messages import FieldViolation
from services.ingest.limits.admission import Admission, AdmittedRequest, RejectedError
from services.ingest.limits.memory_budget import MemoryBudget
from services.ingest.limits.message_reader import MessageReader, MessageTimeoutError, MissingMessageError
from services.ingest.limits.read_permits import TooManyReadsError

Method: TypeAlias = Callable[[bytes, Context], Awaitable[bytes]]
# The field that an error names when there is no message.
REQUEST = "request"
TIMED_OUT = "the message of the call did not arrive in time"
TOO_MANY = "the message of the call was still arriving while too many others were, retry later"


class AdmissionInterceptor:
    """Applies the limits of a process to its methods, while a block of `reader.enforcing` is open."""

    def __init__(self, reader: MessageReader, admission: Admission, memory: MemoryBudget, retry_seconds: float) -> None:
        self.reader = reader
        self._admission = admission
        self._memory = memory
        self._retry_seconds = retry_seconds

    def handler(self, method: Method) -> grpc.RpcMethodHandler[bytes, bytes]:
        """Return gRPC's handler of a unary call that `method` answers."""

        async def call(_messages: AsyncIterator[bytes], context: Context) -> bytes:
            try:
                request, admitted = await self._admit(context)
            except RejectedError as error:
                rejection = str(error)
            else:
                with admitted:
                    async with self._memory.reserve(len(request)):
                        return await method(request, context)
            # Outside of the except block, in which the error's traceback would keep the message in memory.
            return await Call(context).fail(resource_exhausted(rejection, self._retry_seconds))

        return grpc.stream_unary_rpc_method_handler(intercept_errors(call))

    async def _admit(self, context: Context) -> tuple[bytes, AdmittedRequest]:
        peer = context.peer()
        # Checked before the message is read too, as reading brings it into memory.
        self._admission.check(peer)
        request = await self.read_request(context)
        return request, self._admission.admit(peer, len(request))

    async def read_request(self, context: Context) -> bytes:
        """Return the message of a call; fail the call if none arrives, raise RejectedError if there is no room now."""
        try:
            return await self.reader.read(context, lambda: self._admission.check(context.peer()))
        except MessageTimeoutError:
            await Call(context).fail(deadline_exceeded(TIMED_OUT))
        except TooManyReadsError:
            await Call(context).fail(resource_exhausted(TOO_MANY, self._retry_seconds))
        except MissingMessageError:
            await Call(context).fail(invalid_argument([FieldViolation(field=REQUEST, description="is missing")]))
