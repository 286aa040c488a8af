"""The gRPC service behind the gateway: one channel, calls by name with bytes in and out, and its health."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from time import perf_counter
from typing import NamedTuple

import grpc
from google.rpc import code_pb2
from grpc_health.v1 import health_pb2

from gateway.call_errors import DEADLINE_EXCEEDED, call_error, pairs
from gateway.channels import open_channel
from gateway.errors import CallError, Metadata, rpc_error
from gateway.metrics import GatewayMetrics
from gateway.reflection import Limits, Reflection
from gateway.relay.calls import RelayedCall
from gateway.relay.spread import Relays
from gateway.reply import Begun, Caller, Reply
from gateway.settings import GatewaySettings
from gateway.waiting_caller import WaitingCaller

HEALTH_CALL = "/grpc.health.v1.Health/Check"
RECONNECT_FIRST_MS = 100
# Otherwise the channels to one address share a connection.
OWN_CONNECTION = ("grpc.use_local_subchannel_pool", 1)
# The library rounds timeouts up, longer ones more coarsely: slightly above 100 s becomes 101 s.
LIBRARY_SECONDS_ADDED = 0.005
LIBRARY_SECONDS_MIN = 0.001
# What a frame of relayed responses may have beside one of the largest: other responses, and metadata.
FRAME_BYTES_ADDED = 2_097_152
# Limit of the metadata of one response, which includes the details of an error.
ANSWER_METADATA_BYTES_MAX = 262_144


class AloneCall(NamedTuple):
    """A call that a task makes alone."""

    task: asyncio.Task[None]

    def abandon(self) -> None:
        """Cancel the call."""
        self.task.cancel()


class Backend:
    """Calls methods of the service; `connecting` opens one."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        settings: GatewaySettings,
        open_channel: Callable[[], grpc.aio.Channel],
        metrics: GatewayMetrics,
        turn: int = 0,
    ) -> None:
        """`open_channel` opens a channel with a connection of its own; `turn` is that of Relays."""
        self._metrics = metrics
        self._channel = channel
        self._settings = settings
        # The calls that were begun and are made alone.
        self._tasks: set[asyncio.Task[None]] = set()
        self.relays = Relays(channel, open_channel, self._relayed_alone, settings.gateway_reconnect_seconds_max, turn)
        metrics.calls_in_flight.reads(lambda: len(self._tasks) + self.relays.calls_in_flight())
        metrics.calls_in_flight_limit.reads(self.relays.calls_max)
        metrics.relay_streams.reads(lambda: len(self.relays.streams()))

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
        stream = self.relays.stream
        metadata: Metadata | None = None
        if stream is not None:
            if limit >= LIBRARY_SECONDS_MIN and stream.takes(method, message):
                fields = caller.metadata_fields(stream.declaration.names)
                begun = stream.begin(caller, method, message, fields, given, min(limit, given or limit))
                if begun is not None:
                    return begun
            names = stream.declaration.names
            metadata = [pair for pair in caller.metadata() if pair[0] in names]
        else:
            metadata = caller.metadata()
        return AloneCall(self._start(self._finish(method, message, metadata, given, limit, caller)))

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
        metadata = caller.metadata()
        return self._start(self._finish(call.method, call.message, metadata, call.seconds and left, left, caller))

    def _start(self, call: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(call)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _finish(
        self, method: str, message: bytes, metadata: Metadata, given: float | None, limit: float, caller: Caller
    ) -> None:
        """Make a call alone, and give the verdict to its caller."""
        try:
            reply = await self._unary(method, message, metadata, given, limit)
        except Exception as error:  # noqa: BLE001 -- the caller decides
            caller.failed(error)
        else:
            caller.answered(reply)

    async def _unary(self, method: str, message: bytes, metadata: Metadata, given: float | None, limit: float) -> Reply:
        """Make a call alone."""
        stub: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(method)
        call = stub(message, timeout=given, metadata=tuple(metadata), wait_for_ready=False)
        try:
            async with asyncio.timeout(limit):
                data: bytes = await call
                return Reply(data, pairs(await call.initial_metadata()), pairs(await call.trailing_metadata()))
        except TimeoutError as error:
            raise rpc_error(code_pb2.DEADLINE_EXCEEDED, DEADLINE_EXCEEDED) from error
        except grpc.aio.AioRpcError as error:
            raise call_error(error) from error
        finally:
            call.cancel()

    async def is_serving(self) -> bool:
        """Whether the service is reachable, and SERVING by grpc.health.v1."""
        check = self._channel.unary_unary(
            HEALTH_CALL,
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        try:
            answer = await check(health_pb2.HealthCheckRequest(), timeout=self._settings.gateway_ready_seconds_max)
        except grpc.aio.AioRpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def reflection(self) -> Reflection:
        """Return what asks the service for its descriptors."""
        settings = self._settings
        limits = Limits(settings.gateway_reflection_seconds_max, settings.gateway_reflection_bytes_max)
        return Reflection(self._channel, limits)

    async def connections(self) -> AsyncIterator[None]:
        """Yield each time that the channel is connected; meanwhile it reconnects without waiting for a call."""
        state = self._channel.get_state(try_to_connect=True)
        while True:
            if state is grpc.ChannelConnectivity.READY:
                yield
            # A server may close each connection as soon as it has accepted it.
            await asyncio.sleep(RECONNECT_FIRST_MS / 1_000)
            await self._channel.wait_for_state_change(state)
            state = self._channel.get_state(try_to_connect=True)


def received_bytes_max(settings: GatewaySettings) -> int:
    """Return the limit of one message: a response, a frame of them, or a response of reflection."""
    return max(settings.gateway_answer_bytes_max + FRAME_BYTES_ADDED, settings.gateway_reflection_bytes_max)


@contextlib.asynccontextmanager
async def connecting(settings: GatewaySettings, metrics: GatewayMetrics, turn: int = 0) -> AsyncIterator[Backend]:
    """Open the channel; while the service is down it reconnects, with a pause that grows to the setting."""
    pause_ms = int(settings.gateway_reconnect_seconds_max * 1_000)
    options = (
        ("grpc.initial_reconnect_backoff_ms", RECONNECT_FIRST_MS),
        # Despite its name this limits how long one attempt may take.
        ("grpc.min_reconnect_backoff_ms", pause_ms),
        ("grpc.max_reconnect_backoff_ms", pause_ms),
        # What the gateway itself does not check; it is larger than any setting for responses, so that a frame of many
        # responses and those of reflection arrive.
        ("grpc.max_receive_message_length", received_bytes_max(settings)),
        # By default the library refuses responses with more than 8 KiB, which includes details of errors.
        ("grpc.max_metadata_size", ANSWER_METADATA_BYTES_MAX),
        ("grpc.absolute_max_metadata_size", ANSWER_METADATA_BYTES_MAX),
        # The service has its own limit, whose error is returned to the client.
        ("grpc.max_send_message_length", -1),
        # Without a retry policy the library only retries calls that the service has not seen, as on a GOAWAY.
        ("grpc.enable_retries", 1),
        ("grpc.service_config_disable_resolution", 1),
        # Proxies of the environment are for external hosts.
        ("grpc.enable_http_proxy", 0),
    )

    tls = settings.ingest_target_tls.read() if settings.ingest_target_tls else None

    def open_own() -> grpc.aio.Channel:
        return open_channel(settings, tls, (*options, OWN_CONNECTION))

    async with open_channel(settings, tls, options) as channel:
        backend = Backend(channel, settings, open_own, metrics, turn)
        relaying = asyncio.create_task(backend.relays.run()) if settings.gateway_relay else None
        try:
            yield backend
        finally:
            if relaying is not None:
                relaying.cancel()
                await asyncio.gather(relaying, return_exceptions=True)
