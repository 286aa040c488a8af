"""The gRPC service behind the gateway: its replicas, calls by name with bytes in and out, and its health."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from time import perf_counter
from typing import NamedTuple

from common.tls.reloading import watched_tls
from common.watched_files import reloading
from gateway.balancing.channels import credentials, open_channel
from gateway.balancing.reflected import ReflectedReplicas
from gateway.balancing.replica import Replica
from gateway.balancing.replicas import Replicas
from gateway.balancing.resolving import Endpoint, Resolver
from gateway.balancing.unary import UnaryCall, UnaryCalls
from gateway.errors import CallError, Metadata
from gateway.metrics import GatewayMetrics
from gateway.reflection import Limits, Reflection
from gateway.relay.calls import RelayedCall
from gateway.relay.spread import Relays
from gateway.relay.stream import RelayStream
from gateway.reply import Begun, Caller, Reply
from gateway.settings import GatewaySettings
from gateway.waiting_caller import WaitingCaller

# The library rounds timeouts up, longer ones more coarsely: slightly above 100 s becomes 101 s.
LIBRARY_SECONDS_ADDED = 0.005
LIBRARY_SECONDS_MIN = 0.001
SEED_BYTES = 8


class AloneCall(NamedTuple):
    """A call that a task makes alone."""

    task: asyncio.Task[None]

    def abandon(self) -> None:
        """Cancel the call."""
        self.task.cancel()


class Backend:
    """Calls methods of the service; `connecting` opens one."""

    def __init__(self, resolver: Resolver, settings: GatewaySettings, metrics: GatewayMetrics, turn: int = 0) -> None:
        """Gateway processes that differ in `turn` prefer different processes of the service."""
        self._metrics = metrics
        self._settings = settings
        self._turn = turn
        files = settings.ingest_target_tls
        self.tls = watched_tls(files, "client", metrics, credentials, self._renew) if files is not None else None
        self.replicas = replicas = Replicas(resolver, self._open, settings, turn)
        self._unary = UnaryCalls(replicas, metrics.calls_moved)
        metrics.calls_in_flight.reads(lambda: sum(each.calls_in_flight() for each in replicas.all()))
        metrics.calls_in_flight_limit.reads(lambda: sum(each.relays.calls_max() for each in replicas.all()))
        metrics.relay_streams.reads(lambda: sum(len(each.relays.streams()) for each in replicas.all()))
        metrics.replicas.reads(lambda: len(replicas))
        metrics.replicas_available.reads(replicas.available)

    async def call(self, method: str, message: bytes, metadata: Metadata, seconds: float | None) -> Reply:
        """Call a method; CallError when the service returns an error, cannot be reached or takes too long.

        `seconds` is the client's timeout, which is forwarded; without one the gateway waits for its own limit.
        """
        caller = WaitingCaller(metadata)
        began = perf_counter()
        begun = self.begin(method, message, seconds, caller)
        try:
            reply = await caller.verdict
        except asyncio.CancelledError:
            begun.abandon()
            raise
        except CallError as error:
            self._metrics.call_seconds.observe(perf_counter() - began)
            self._metrics.call_failed(error.code)
            raise
        else:
            self._metrics.call_seconds.observe(perf_counter() - began)
            return reply
        finally:
            # An error refers to this frame: with these a cycle would keep the message and the channel.
            del caller, begun

    def begin(self, method: str, message: bytes, seconds: float | None, caller: Caller) -> Begun:
        """Call a method as `call` does, and give the verdict to the caller; GatewayError when it cannot begin."""
        given, limit = self._limits(seconds)
        replica = self.replicas.next()
        stream = replica.relays.stream if replica is not None else None
        if stream is not None and limit >= LIBRARY_SECONDS_MIN and stream.takes(method, message):
            fields = caller.metadata_fields(stream.declaration.names)
            begun = stream.begin(caller, method, message, fields, given, min(limit, given or limit))
            if begun is not None:
                return begun
        call = UnaryCall(caller, method, message, metadata_for(caller, stream), given, limit)
        return AloneCall(self._unary.start(call, replica))

    def _limits(self, seconds: float | None) -> tuple[float | None, float]:
        """Return the timeout that the service is given, and the seconds after which the gateway ends a call."""
        limit = self._settings.gateway_timeout_seconds_max if seconds else self._settings.gateway_timeout_seconds
        if seconds is None:
            return None, limit
        # The library's clock is in milliseconds: what is shorter than one must not become one.
        limit = min(limit, seconds) if seconds < LIBRARY_SECONDS_MIN else limit
        return seconds - min(seconds * 0.01, LIBRARY_SECONDS_ADDED), limit

    def _relayed_alone(self, call: RelayedCall) -> asyncio.Task[None]:
        """Make a call alone that a stream did not take, within the time that it has left."""
        caller = call.caller
        assert caller is not None  # noqa: S101 -- a call without a caller is not made
        left = max(call.deadline - asyncio.get_running_loop().time(), 0)
        alone = UnaryCall(caller, call.method, call.message, caller.metadata(), call.seconds and left, left)
        return self._unary.start(alone, self.replicas.next())

    def _open(self, endpoint: Endpoint) -> Replica:
        """Open a replica."""
        settings, tls = self._settings, self.tls.value.made if self.tls is not None else None
        channel = open_channel(settings, tls, endpoint)
        relays = Relays(
            channel,
            lambda: open_channel(settings, tls, endpoint),
            self._relayed_alone,
            settings.gateway_reconnect_seconds_max,
            self._turn,
        )
        limits = Limits(settings.gateway_reflection_seconds_max, settings.gateway_reflection_bytes_max)
        return Replica(endpoint, channel, relays, Reflection(channel, limits), settings.gateway_ready_seconds_max)

    def _renew(self) -> None:
        self.replicas.renew()

    async def is_serving(self) -> bool:
        """Whether any replica is reachable, and SERVING by grpc.health.v1."""
        checks = [asyncio.create_task(each.check()) for each in self.replicas.all()]
        try:
            for check in asyncio.as_completed(checks):
                if await check:
                    return True
            return False
        finally:
            for task in checks:
                task.cancel()
            await asyncio.gather(*checks, return_exceptions=True)

    def reflection(self) -> ReflectedReplicas:
        """Return what asks the service for its descriptors."""
        return ReflectedReplicas(self.replicas)

    async def connections(self) -> AsyncIterator[None]:
        """Yield each time that a replica is connected."""
        while True:
            await self.replicas.connected.wait()
            self.replicas.connected.clear()
            yield


def metadata_for(caller: Caller, stream: RelayStream | None) -> Metadata:
    """Return the metadata of a call that is made alone: what the server reads, if it has declared that."""
    metadata = caller.metadata()
    return metadata if stream is None else [pair for pair in metadata if pair[0] in stream.declaration.names]


@contextlib.asynccontextmanager
async def connecting(settings: GatewaySettings, metrics: GatewayMetrics, turn: int = 0) -> AsyncIterator[Backend]:
    """Find the replicas of the service and stay connected to them; while one is away it is tried again and again."""
    loop = asyncio.get_running_loop()
    resolver = Resolver(settings.ingest_target, loop, os.urandom(SEED_BYTES))
    backend = Backend(resolver, settings, metrics, turn)
    running = asyncio.create_task(backend.replicas.run())
    try:
        async with reloading(backend.tls):
            yield backend
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
