"""Keeps one stream open to a service that offers ugc.relay.v1.RelayService; without one, calls are made alone."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from enum import Enum

import grpc
from google.protobuf.message import DecodeError

from common.logs import log_limited, logger
from gateway.relay.calls import RelayedCall
from gateway.relay.frames import RELAY_CALL, Declaration, ResponseFrame, declaration_of
from gateway.relay.stream import RelayStream

# How long a connected server may take to declare what it offers.
DECLARATION_SECONDS_MAX = 5.0
# The open stream, and the one before, which the server is ending.
STREAMS_MAX = 2
READY = grpc.ChannelConnectivity.READY
# A server that answers so may offer a stream a moment later.
TEMPORARY = frozenset({
    grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.CANCELLED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
})  # fmt: skip


class Next(Enum):
    """When another stream is opened."""

    AT_ONCE = "at once"
    AFTER_A_PAUSE = "after a pause"
    WHEN_RECONNECTED = "when reconnected"
    NOT_HERE = "not on this channel"


class Relay:
    """The stream of a channel; `alone` makes a call that the stream has not taken as a unary one."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        alone: Callable[[RelayedCall], asyncio.Task[None]],
        pause_seconds: float,
        is_wanted: Callable[[Declaration], bool] = lambda _declared: True,
    ) -> None:
        """Wait `pause_seconds` after a stream has ended unexpectedly, before another one is opened.

        `is_wanted` decides by the declaration whether the stream is kept; without it the relay ends.
        """
        self._channel = channel
        self._alone = alone
        self._pause_seconds = pause_seconds
        self._is_wanted = is_wanted
        self._running: set[asyncio.Task[None]] = set()
        # The stream that was opened last, while it has not ended.
        self.stream: RelayStream | None = None

    async def run(self) -> None:
        """Keep a stream open, until cancelled or not wanted; a server without it is asked again when reconnected."""
        try:
            while True:
                await self._until(is_ready=True)
                match await self._open():
                    case Next.WHEN_RECONNECTED:
                        await self._until(is_ready=False)
                    case Next.AFTER_A_PAUSE:
                        await asyncio.sleep(self._pause_seconds)
                    case Next.NOT_HERE:
                        while self._running:
                            await asyncio.wait(self._running)
                        return
                    case Next.AT_ONCE if len(self._running) >= STREAMS_MAX:
                        await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
                raise_if_cancelled()
        finally:
            for task in self._running:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)

    async def _open(self) -> Next:
        """Open a stream; return when it ends, or the server announces that it ends it."""
        call: grpc.aio.StreamStreamCall[bytes, bytes] = self._channel.stream_stream(RELAY_CALL)()
        try:
            declared = await self._declared(call)
        except asyncio.CancelledError:
            call.cancel()
            raise
        if isinstance(declared, Next):
            call.cancel()
            return declared
        if not self._is_wanted(declared):
            call.cancel()
            return Next.NOT_HERE
        logger().debug("calls are relayed in a stream", methods=sorted(declared.methods))
        self.stream = stream = RelayStream(call, declared, self._alone)
        carrying = asyncio.create_task(self._carry(stream))
        self._running.add(carrying)
        carrying.add_done_callback(self._running.discard)
        waits: set[asyncio.Future[None]] = {carrying, stream.draining}
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        return Next.AT_ONCE if stream.draining.done() else Next.AFTER_A_PAUSE

    async def _carry(self, stream: RelayStream) -> None:
        """Carry calls on a stream until it ends."""
        try:
            await stream.run()
        except Exception:  # noqa: BLE001 -- the last resort: calls are made alone, until the next stream is open
            log_limited(logging.ERROR, "relaying calls failed unexpectedly", exc_info=True)
        finally:
            if self.stream is stream:
                self.stream = None

    async def _until(self, *, is_ready: bool) -> None:
        """Wait until the channel is connected, or is not."""
        state = self._channel.get_state(try_to_connect=True)
        while (state is READY) != is_ready:
            raise_if_cancelled()
            await self._channel.wait_for_state_change(state)
            state = self._channel.get_state(try_to_connect=True)

    async def _declared(self, call: grpc.aio.StreamStreamCall[bytes, bytes]) -> Declaration | Next:
        """Return what the server declares; if it declares nothing, when it is asked again."""
        try:
            async with asyncio.timeout(DECLARATION_SECONDS_MAX):
                first = await call.read()
            frame = ResponseFrame.FromString(first) if isinstance(first, bytes) else None
        except grpc.aio.AioRpcError as error:
            return Next.AFTER_A_PAUSE if error.code() in TEMPORARY else Next.WHEN_RECONNECTED
        except TimeoutError:
            return Next.AFTER_A_PAUSE  # the server may be overloaded, and alone its calls cost it more
        except DecodeError:
            return Next.WHEN_RECONNECTED
        if frame is None or not frame.HasField("declaration"):
            return Next.WHEN_RECONNECTED
        return declaration_of(frame)


def raise_if_cancelled() -> None:
    """Raise CancelledError in a task that was cancelled: gRPC may raise the error of its call in place of that."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
