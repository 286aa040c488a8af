"""RelayService: opens relay streams within their limits, and ends them at their age and when the process stops."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Callable, Mapping

import grpc
from ugc.relay.v1 import relay_service_pb2

from services.ingest.call import Context
from services.ingest.error_interceptor import intercept_errors
from services.ingest.limits.admission import RejectedError, StreamLimiter
from services.ingest.relay import frames, limits
from services.ingest.relay.calls import Intake, Method
from services.ingest.relay.limits import RelayLimits
from services.ingest.relay.stream import RelayStream

SERVICE: str = relay_service_pb2.DESCRIPTOR.services_by_name["RelayService"].full_name
# Of the random name of this process.
NAME_BYTES = 8
STOPPING = "the server is stopping"


class RelayService:
    """The streams of a process, while a block of `enforcing` is open."""

    def __init__(
        self,
        methods: Mapping[str, Method],
        intake: Intake,
        relay_limits: RelayLimits,
        has_headroom: Callable[[], bool] = lambda: True,
        servers: int = 1,
    ) -> None:
        """While `has_headroom` returns false, the process has memory for the guaranteed streams only.

        `servers` is the number of processes that share the address of this one.
        """
        self._methods = methods
        self._intake = intake
        self._limits = relay_limits
        self._has_headroom = has_headroom
        self._limiter = StreamLimiter(relay_limits.streams_max, limits.CONNECTION_STREAMS_MAX)
        self._declaration = frames.declaration(
            tuple(methods),
            limits.CALLS_MAX,
            limits.FRAME_BYTES_MAX,
            limits.MESSAGE_BYTES_MAX,
            frames.Server(secrets.token_hex(NAME_BYTES), servers),
        )
        # In the order in which they began, with the task of each.
        self._streams: dict[RelayStream, asyncio.Task[object]] = {}
        self._is_stopping = False

    def handler(self) -> grpc.GenericRpcHandler:
        """Return gRPC's handler of the service."""
        return grpc.method_handlers_generic_handler(
            SERVICE, {"Relay": grpc.stream_stream_rpc_method_handler(intercept_errors(self.relay))}
        )

    async def relay(self, _messages: object, context: Context) -> None:
        """Answer the calls of one stream until it ends."""
        if self._is_stopping:
            await context.abort(grpc.StatusCode.UNAVAILABLE, STOPPING)
        peer = context.peer()
        try:
            self._limiter.acquire(peer)
        except RejectedError as error:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, str(error))
        try:
            await self._serve(peer, context)
        except frames.FrameError as error:
            await context.abort(error.code, str(error))
        finally:
            self._limiter.release(peer)

    async def _serve(self, peer: str, context: Context) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 -- gRPC runs each call in a task
        stream = RelayStream(context, peer, self._methods, self._intake, self._declaration)
        self._streams[stream] = task
        reading = asyncio.create_task(stream.read())
        try:
            await stream.write()
        finally:
            del self._streams[stream]
            stream.close()
            reading.cancel()

    @contextlib.asynccontextmanager
    async def enforcing(self) -> AsyncIterator[None]:
        """Enforce the limits of streams until the block ends."""

        async def run() -> None:
            while True:
                await asyncio.sleep(limits.STREAM_TICK_SECONDS)
                self.tick(asyncio.get_running_loop().time())

        task = asyncio.create_task(run())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def tick(self, now: float) -> None:
        """End the streams that are old, those for which memory is missing, and those whose client reads too slowly."""
        for stream, task in self._streams.items():
            if now - stream.began_at > self._limits.stream_seconds_max:
                stream.drain()
            if stream.writing_since is not None and now - stream.writing_since > limits.WRITE_SECONDS_MAX:
                task.cancel()
        if self._streams and not self._has_headroom():
            for stream in list(self._streams)[self._limits.guaranteed_streams :]:
                stream.drain()
            for stream, task in self._streams.items():
                if stream.unread_bytes > limits.UNREAD_BYTES_WITHOUT_HEADROOM_MAX:
                    task.cancel()

    def stop(self) -> None:
        """Accept no further streams, and end the open ones once their calls are answered."""
        self._is_stopping = True
        for stream in self._streams:
            stream.drain()
