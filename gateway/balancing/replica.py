"""One replica of the service: a channel with its relay streams, and whether it is connected and serving."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

import grpc
from grpc_health.v1 import health_pb2

from gateway.balancing.resolving import Endpoint
from gateway.reflection import Reflection
from gateway.relay.spread import Relays

HEALTH_CALL = "/grpc.health.v1.Health/Check"
READY = grpc.ChannelConnectivity.READY
# Shortest time of one connection: a server may close each as soon as it has accepted it.
CONNECTED_SECONDS_MIN = 0.1
# The pause between two health checks, and after how many failures the replica gets calls only if no other one serves.
# One that answers NOT_SERVING gets none at once.
CHECK_SECONDS = 1.0
FAILED_CHECKS_MAX = 2
# How often a replica that gets no more calls is looked at, until those that it has are answered.
LEAVING_SECONDS = 0.1


class Replica:
    """A replica; `run` keeps it connected."""

    def __init__(
        self,
        endpoint: Endpoint,
        channel: grpc.aio.Channel,
        relays: Relays,
        reflection: Reflection,
        check_seconds_max: float,
    ) -> None:
        """Let a health check fail after `check_seconds_max`."""
        self.endpoint = endpoint
        self.channel = channel
        self.relays = relays
        self.reflection = reflection
        self.is_connected = False
        # Whether it serves, as far as it is checked.
        self.is_serving = True
        self._check_seconds_max = check_seconds_max
        self._alone: set[asyncio.Task[None]] = set()

    def calls_in_flight(self) -> int:
        """Return how many calls have no verdict yet."""
        return len(self._alone) + self.relays.calls_in_flight()

    def start(self, call: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """Begin a call that is made alone."""
        task = asyncio.create_task(call)
        self._alone.add(task)
        task.add_done_callback(self._alone.discard)
        return task

    async def check(self) -> bool:
        """Whether the replica answers, and is SERVING by grpc.health.v1."""
        return await self._status() == health_pb2.HealthCheckResponse.SERVING

    async def run(self, on_change: Callable[[], None], is_relayed: bool, is_checked: Callable[[], bool]) -> None:
        """Stay connected, without waiting for a call, until cancelled; `on_change` is called when the state changes.

        Without `is_relayed` no streams are opened; health is checked while `is_checked` returns true.
        """
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch(on_change))
            tasks.create_task(self._check(on_change, is_checked))
            if is_relayed:
                tasks.create_task(self.relays.run())

    async def leave(self, seconds_max: float) -> None:
        """Return when all calls have their verdict, or after `seconds_max`."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds_max
        while self.calls_in_flight() and loop.time() < until:  # noqa: ASYNC110 -- calls have no event in common
            await asyncio.sleep(LEAVING_SECONDS)

    async def _watch(self, on_change: Callable[[], None]) -> None:
        state = self.channel.get_state(try_to_connect=True)
        while True:
            if self.is_connected is not (state is READY):
                self.is_connected = state is READY
                on_change()
            if self.is_connected:
                await asyncio.sleep(CONNECTED_SECONDS_MIN)
            await self.channel.wait_for_state_change(state)
            state = self.channel.get_state(try_to_connect=True)

    async def _check(self, on_change: Callable[[], None], is_checked: Callable[[], bool]) -> None:
        failures = 0
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            status = await self._status() if is_checked() else health_pb2.HealthCheckResponse.SERVING
            failures = failures + 1 if status is None else 0
            is_serving = status == health_pb2.HealthCheckResponse.SERVING
            if self.is_serving is not is_serving and not 0 < failures < FAILED_CHECKS_MAX:
                self.is_serving = is_serving
                on_change()

    async def _status(self) -> int | None:
        """Return the status by grpc.health.v1, None without an answer in time."""
        check = self.channel.unary_unary(
            HEALTH_CALL,
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        try:
            answer = await check(health_pb2.HealthCheckRequest(), timeout=self._check_seconds_max)
        except grpc.aio.AioRpcError:
            return None
        status: int = answer.status
        return status
