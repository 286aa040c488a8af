"""Admission of calls: reads the message of a call, admits it within the limits, and calls the servicer.

The handlers are those of client streams, which gRPC calls before the message has arrived. On the wire a unary call is a
stream of one message, and its cost is the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from time import perf_counter
from typing import TypeAlias

import grpc
from google.rpc.code_pb2 import INTERNAL, OK, RESOURCE_EXHAUSTED

from services.ingest.call import Call, Context, Failure, Response, StatusError
from services.ingest.error_interceptor import intercept_errors
from services.ingest.errors import deadline_exceeded, invalid_argument, resource_exhausted
from services.ingest.events.violation_messages import FieldViolation
from services.ingest.limits.admission import RejectedError
from services.ingest.limits.memory_budget import SMALL_BYTES_MAX
from services.ingest.limits.message_reader import MessageReader, MessageTimeoutError, MissingMessageError
from services.ingest.limits.read_permits import TooManyReadsError
from services.ingest.metadata import read_metadata
from services.ingest.metrics import CallMetrics
from services.ingest.relay.calls import Intake

Method: TypeAlias = Callable[[bytes, Call], Awaitable[Response]]
# The field that an error names when there is no message.
REQUEST = "request"
TIMED_OUT = "the message of the call did not arrive in time"
TOO_MANY = "the message of the call was still arriving while too many others were, retry later"
CODES = {code.value[0]: code for code in grpc.StatusCode}


class AdmissionInterceptor:
    """Applies the limits of a process to its methods, while a block of `reader.enforcing` is open."""

    def __init__(self, reader: MessageReader, intake: Intake) -> None:
        self.reader = reader
        self.intake = intake
        self._admission = intake.admission
        self._memory = intake.memory
        self._retry_seconds = intake.retry_seconds

    def handler(self, method: Method, metrics: CallMetrics) -> grpc.RpcMethodHandler[bytes, bytes]:
        """Return gRPC's handler of a unary call that `method` answers."""

        async def respond(_messages: AsyncIterator[bytes], context: Context) -> bytes:
            began, peer = perf_counter(), context.peer()
            call = Call(read_metadata(context.invocation_metadata() or ()), peer, context)
            self.intake.trace(call, metrics)
            try:
                response = await self._respond(method, call, context, peer, metrics)
            except StatusError as error:
                failure = call.failure(error.status)
            except (grpc.aio.AbortError, grpc.aio.InternalError, asyncio.CancelledError):
                metrics.ended(call.cancelled_code(), perf_counter() - began, call.span)
                raise
            except Exception as error:  # noqa: BLE001 -- the library would send any exception's text to the client
                failure = call.unexpected(error)
            else:
                metrics.ended(OK, perf_counter() - began, call.span)
                # Trailing metadata is sent with the response; initial metadata would be an operation of its own.
                context.set_trailing_metadata(call.success_metadata(response.http_code))
                return response.message
            metrics.ended(failure.code, perf_counter() - began, call.span)
            # Outside of the except block, in which the error's traceback would keep the message in memory.
            return await abort(context, failure)

        return grpc.stream_unary_rpc_method_handler(intercept_errors(respond))

    async def _respond(self, method: Method, call: Call, context: Context, peer: str, metrics: CallMetrics) -> Response:
        request = None
        try:
            # Checked before the message is read too, as reading brings it into memory.
            self._admission.check(peer)
            request = await self._read_request(context, peer)
            size = len(request)
            self._admission.admit(peer, size)
        except RejectedError as error:
            metrics.refused(RESOURCE_EXHAUSTED, request)
            raise StatusError(resource_exhausted(str(error), self._retry_seconds)) from None
        try:
            if size <= SMALL_BYTES_MAX:
                return await method(request, call)
            async with self._memory.reserve(size):
                return await method(request, call)
        except BaseException as error:
            if not call.are_events_counted:
                metrics.refused(code_of(error, call), request)
            raise
        finally:
            self._admission.release(peer, size)

    async def _read_request(self, context: Context, peer: str) -> bytes:
        """Return the message of a call; raise StatusError if none arrives, RejectedError if there is no room now."""
        try:
            return await self.reader.read(context, peer, self._admission.check)
        except MessageTimeoutError:
            raise StatusError(deadline_exceeded(TIMED_OUT)) from None
        except TooManyReadsError:
            raise RejectedError(TOO_MANY) from None
        except MissingMessageError:
            raise StatusError(invalid_argument([FieldViolation(field=REQUEST, description="is missing")])) from None


def code_of(error: BaseException, call: Call) -> int:
    """Return the code with which a call ends because of an error."""
    if isinstance(error, StatusError):
        return int(error.status.code)
    return int(INTERNAL) if isinstance(error, Exception) else call.cancelled_code()


async def abort(context: Context, failure: Failure) -> bytes:
    """End a call with an error; raises."""
    await context.abort(CODES[failure.code], failure.message, failure.metadata)
    raise AssertionError  # abort does not return
