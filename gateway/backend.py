"""The gRPC service behind the gateway: one channel, calls by name with bytes in and out, and its health."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import grpc
from google.rpc import code_pb2
from grpc_health.v1 import health_pb2

from gateway.call_errors import TIMED_OUT, call_error, pairs
from gateway.dynamic import Dynamic
from gateway.errors import CallError, status_of
from gateway.http.metadata import Pair
from gateway.settings import GatewaySettings

HEALTH_CALL = "/grpc.health.v1.Health/Check"
RECONNECT_FIRST_MS = 100
# The library rounds the time that remains up, the longer the coarser: 100 s and a hair go out as 101 s.
LIBRARY_SECONDS_ADDED = 0.005
LIBRARY_SECONDS_MIN = 0.001
# Of one answer, details of its error included.
ANSWER_METADATA_BYTES_MAX = 262_144


@dataclass(frozen=True)
class Answer:
    """A successful answer: the message's bytes and the metadata before and after it."""

    message: bytes
    initial: Sequence[Pair]
    trailing: Sequence[Pair]


class Backend:
    """Calls methods of the service. Open it with `connecting`."""

    def __init__(self, channel: grpc.aio.Channel, settings: GatewaySettings) -> None:
        self._channel = channel
        self._settings = settings

    async def call(self, method: str, message: bytes, metadata: Sequence[Pair], seconds: float | None) -> Answer:
        """Call a method; CallError carries the service's error, or that it was not reached, or took too long.

        `seconds` is the client's own and is sent along; without one the service sees none, but we wait only so long.
        """
        stub: Dynamic = self._channel.unary_unary(method)
        limit = self._settings.gateway_timeout_seconds_max if seconds else self._settings.gateway_timeout_seconds
        # The library's clock is in milliseconds: what is shorter than one must not become one.
        limit = min(limit, seconds) if seconds is not None and seconds < LIBRARY_SECONDS_MIN else limit
        timeout = seconds - min(seconds * 0.01, LIBRARY_SECONDS_ADDED) if seconds else None
        call = stub(message, timeout=timeout, metadata=tuple(metadata), wait_for_ready=False)
        try:
            async with asyncio.timeout(limit):
                data: bytes = await call
                return Answer(data, pairs(await call.initial_metadata()), pairs(await call.trailing_metadata()))
        except TimeoutError as error:
            raise CallError(status_of(code_pb2.DEADLINE_EXCEEDED, TIMED_OUT, None)) from error
        except grpc.aio.AioRpcError as error:
            raise call_error(error) from error
        finally:
            call.cancel()

    async def is_serving(self) -> bool:
        """Whether the service is reachable and says by grpc.health.v1 that it serves."""
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


@contextlib.asynccontextmanager
async def connecting(settings: GatewaySettings) -> AsyncIterator[Backend]:
    """Open the channel; a service that is down is tried again at once, then at most every second."""
    pause_ms = int(settings.gateway_reconnect_seconds_max * 1_000)
    options = (
        ("grpc.initial_reconnect_backoff_ms", RECONNECT_FIRST_MS),
        # In spite of its name: how long one attempt may take.
        ("grpc.min_reconnect_backoff_ms", pause_ms),
        ("grpc.max_reconnect_backoff_ms", pause_ms),
        ("grpc.max_receive_message_length", settings.gateway_answer_bytes_max),
        # By default the library refuses more than 8 KiB, details of errors among them, after the service has answered.
        ("grpc.max_metadata_size", ANSWER_METADATA_BYTES_MAX),
        ("grpc.absolute_max_metadata_size", ANSWER_METADATA_BYTES_MAX),
        # The service has its own limit; what it refuses comes back as its error.
        ("grpc.max_send_message_length", -1),
        # No policy, so that only calls are sent again that the service has not seen, as when it ends an old connection.
        ("grpc.enable_retries", 1),
        ("grpc.service_config_disable_resolution", 1),
        # A proxy of the environment is for other hosts than the system's own.
        ("grpc.enable_http_proxy", 0),
    )
    async with grpc.aio.insecure_channel(settings.ingest_target, options=options) as channel:
        yield Backend(channel, settings)
