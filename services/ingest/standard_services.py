"""The standard gRPC services, health and reflection: without authentication, and with small limits of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import NoReturn, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message
from grpc_health.v1 import health, health_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2

from services.ingest.call import Context
from services.ingest.error_interceptor import intercept_errors
from services.ingest.limits.admission import RejectedError, StreamLimiter
from services.ingest.limits.message_reader import MessageReader, MessageTimeoutError, MissingMessageError
from services.ingest.limits.read_permits import TooManyReadsError

# Streams of Watch, and of reflection, in total and on a connection.
STREAMS_MAX = 1_000
CONNECTION_STREAMS_MAX = 10
# How long a call may wait for its first or next message, how many reads may be slow, and how many run beside them.
MESSAGE_SECONDS_MAX = 10.0
SLOW_MAX, READS_MAX = 8, 8
M = TypeVar("M", bound=Message)


class StandardServices:
    """Serves health and reflection, while a block of `reader.enforcing` is open."""

    def __init__(self, health_servicer: health.aio.HealthServicer, listed: tuple[str, ...]) -> None:
        """Let reflection list the services named `listed`."""
        self._health = health_servicer
        self._reflection = reflection.aio.ReflectionServicer(listed)
        self._watches = StreamLimiter(STREAMS_MAX, CONNECTION_STREAMS_MAX)
        self._reflections = StreamLimiter(STREAMS_MAX, CONNECTION_STREAMS_MAX)
        self.reader = MessageReader(MESSAGE_SECONDS_MAX, SLOW_MAX, READS_MAX)

    def handlers(self) -> tuple[grpc.GenericRpcHandler, ...]:
        """Return gRPC's handlers of both services."""
        return (
            grpc.method_handlers_generic_handler(
                health.SERVICE_NAME,
                {
                    "Check": grpc.stream_unary_rpc_method_handler(
                        intercept_errors(self.check), response_serializer=serialize
                    ),
                    "Watch": grpc.stream_stream_rpc_method_handler(
                        intercept_errors(self.watch), response_serializer=serialize
                    ),
                },
            ),
            grpc.method_handlers_generic_handler(
                reflection.SERVICE_NAME,
                {
                    "ServerReflectionInfo": grpc.stream_stream_rpc_method_handler(
                        intercept_errors(self.reflect), response_serializer=serialize
                    )
                },
            ),
        )

    async def check(self, _messages: object, context: Context) -> object:
        """Return the status of a service."""
        return await self._health.Check(await self._health_request(context), context)  # type: ignore[arg-type]  # of messages

    async def watch(self, _messages: object, context: Context) -> None:
        """Send the status of a service, now and whenever it changes."""
        request = await self._health_request(context)
        peer = context.peer()
        await acquire(self._watches, context)
        try:
            await self._health.Watch(request, context)  # type: ignore[arg-type]  # a writer of messages
        finally:
            self._watches.release(peer)

    async def reflect(self, _messages: object, context: Context) -> None:
        """Answer a tool's requests for descriptors until it closes the stream."""
        peer = context.peer()
        await acquire(self._reflections, context)
        try:
            responses = self._reflection.ServerReflectionInfo(self._reflection_requests(context), context)
            async for response in responses:  # type: ignore[attr-defined]  # a generator; the stub has a coroutine
                await context.write(response)
        finally:
            self._reflections.release(peer)

    async def _reflection_requests(self, context: Context) -> AsyncIterator[reflection_pb2.ServerReflectionRequest]:
        while True:
            try:
                message = await self.reader.read(context)
            except MissingMessageError:
                return
            except (MessageTimeoutError, TooManyReadsError) as error:
                await abort(context, error)
            yield await parse(reflection_pb2.ServerReflectionRequest, message, context)

    async def _health_request(self, context: Context) -> health_pb2.HealthCheckRequest:
        try:
            message = await self.reader.read(context)
        except (MessageTimeoutError, TooManyReadsError, MissingMessageError) as error:
            await abort(context, error)
        return await parse(health_pb2.HealthCheckRequest, message, context)


async def acquire(streams: StreamLimiter, context: Context) -> None:
    """Count a stream of a call; abort the call above a limit."""
    try:
        streams.acquire(context.peer())
    except RejectedError as error:
        await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, str(error))


async def parse(kind: type[M], message: bytes, context: Context) -> M:
    """Parse a message; abort the call if the bytes are not a valid one."""
    try:
        return kind.FromString(message)
    except DecodeError:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"the message is not a valid {kind.DESCRIPTOR.full_name}")


async def abort(context: Context, error: MessageTimeoutError | TooManyReadsError | MissingMessageError) -> NoReturn:
    """Abort a call whose message was not read."""
    code, text = STATUSES[type(error)]
    await context.abort(code, text)


def serialize(message: Message) -> bytes:
    """Return the bytes of a response."""
    return message.SerializeToString()


STATUSES: dict[type[Exception], tuple[grpc.StatusCode, str]] = {
    MessageTimeoutError: (grpc.StatusCode.DEADLINE_EXCEEDED, "the message did not arrive in time"),
    TooManyReadsError: (grpc.StatusCode.RESOURCE_EXHAUSTED, "too many calls wait for their message, retry later"),
    MissingMessageError: (grpc.StatusCode.INVALID_ARGUMENT, "the message is missing"),
}
