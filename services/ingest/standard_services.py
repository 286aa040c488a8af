"""Health and reflection: open to all, beside the limits of the data, with small ones of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import NoReturn, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message
from grpc_health.v1 import health, health_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2

from services.ingest.call import Context
from services.ingest.guard import guarded
from services.ingest.limits.admission import RefusedError, Streams
from services.ingest.limits.arrivals import Arrivals, LateError, NoMessageError
from services.ingest.limits.leases import CrowdedError

# Streams of Watch, and of reflection, in all and on a connection.
STREAMS_MAX = 1_000
CONNECTION_STREAMS_MAX = 10
# How long a call may wait for its first or next message, and how many may for long.
MESSAGE_SECONDS_MAX = 10.0
SLOW_MAX, READS_MAX = 8, 8
M = TypeVar("M", bound=Message)


class Probes:
    """Serves health and reflection, within a block of `arrivals.watched`."""

    def __init__(self, checks: health.aio.HealthServicer, shown: tuple[str, ...]) -> None:
        """`shown` are the services that reflection lists."""
        self._checks = checks
        self._reflection = reflection.aio.ReflectionServicer(shown)
        self._watches = Streams(STREAMS_MAX, CONNECTION_STREAMS_MAX)
        self._reflections = Streams(STREAMS_MAX, CONNECTION_STREAMS_MAX)
        self.arrivals = Arrivals(MESSAGE_SECONDS_MAX, SLOW_MAX, READS_MAX)

    def handlers(self) -> tuple[grpc.GenericRpcHandler, ...]:
        """Bind the calls to their names."""
        return (
            grpc.method_handlers_generic_handler(
                health.SERVICE_NAME,
                {
                    "Check": grpc.stream_unary_rpc_method_handler(guarded(self.check), response_serializer=serialized),
                    "Watch": grpc.stream_stream_rpc_method_handler(guarded(self.watch), response_serializer=serialized),
                },
            ),
            grpc.method_handlers_generic_handler(
                reflection.SERVICE_NAME,
                {
                    "ServerReflectionInfo": grpc.stream_stream_rpc_method_handler(
                        guarded(self.reflect), response_serializer=serialized
                    )
                },
            ),
        )

    async def check(self, _messages: object, context: Context) -> object:
        """Answer whether a service is serving."""
        return await self._checks.Check(await self._health_request(context), context)  # type: ignore[arg-type]  # of messages

    async def watch(self, _messages: object, context: Context) -> None:
        """Send whether a service is serving, now and when it changes."""
        request = await self._health_request(context)
        peer = context.peer()
        await enter(self._watches, context)
        try:
            await self._checks.Watch(request, context)  # type: ignore[arg-type]  # a writer of messages
        finally:
            self._watches.leave(peer)

    async def reflect(self, _messages: object, context: Context) -> None:
        """Describe services and messages to tools, for as long as they ask."""
        peer = context.peer()
        await enter(self._reflections, context)
        try:
            responses = self._reflection.ServerReflectionInfo(self._questions(context), context)
            async for response in responses:  # type: ignore[attr-defined]  # a generator, which its stub forgets
                await context.write(response)
        finally:
            self._reflections.leave(peer)

    async def _questions(self, context: Context) -> AsyncIterator[reflection_pb2.ServerReflectionRequest]:
        while True:
            try:
                message = await self.arrivals.receive(context)
            except NoMessageError:
                return
            except (LateError, CrowdedError) as error:
                await end(context, error)
            yield await parsed(reflection_pb2.ServerReflectionRequest, message, context)

    async def _health_request(self, context: Context) -> health_pb2.HealthCheckRequest:
        try:
            message = await self.arrivals.receive(context)
        except (LateError, CrowdedError, NoMessageError) as error:
            await end(context, error)
        return await parsed(health_pb2.HealthCheckRequest, message, context)


async def enter(streams: Streams, context: Context) -> None:
    """Count a stream; the call fails when it is one too many."""
    try:
        streams.enter(context.peer())
    except RefusedError as error:
        await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, str(error))


async def parsed(kind: type[M], message: bytes, context: Context) -> M:
    """Parse a message; the call fails when it is not one of its kind."""
    try:
        return kind.FromString(message)
    except DecodeError:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"the message is not a valid {kind.DESCRIPTOR.full_name}")


async def end(context: Context, error: LateError | CrowdedError | NoMessageError) -> NoReturn:
    """End a call that waits in vain for its client's message."""
    code, text = ENDINGS[type(error)]
    await context.abort(code, text)


def serialized(message: Message) -> bytes:
    """Return the bytes of an answer."""
    return message.SerializeToString()


ENDINGS: dict[type[Exception], tuple[grpc.StatusCode, str]] = {
    LateError: (grpc.StatusCode.DEADLINE_EXCEEDED, "the message did not arrive in time"),
    CrowdedError: (grpc.StatusCode.RESOURCE_EXHAUSTED, "too many calls wait for their message, try again later"),
    NoMessageError: (grpc.StatusCode.INVALID_ARGUMENT, "the message is missing"),
}
