"""The gRPC service behind the gateway: one channel, calls by name with bytes in and out, and its health."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import grpc
from google.rpc import code_pb2
from grpc_health.v1 import health_pb2

from gateway.dynamic import Dynamic
from gateway.errors import CallError, status_of
from gateway.metadata import Pair, retry_after
from gateway.settings import GatewaySettings

DETAILS = "grpc-status-details-bin"
HEALTH_CALL = "/grpc.health.v1.Health/Check"
RECONNECT_FIRST_MS = 100
# The library rounds the time that remains up, the longer the coarser: 100 s and a hair go out as 101 s.
LIBRARY_SECONDS_ADDED = 0.005
LIBRARY_SECONDS_MIN = 0.001
# What the library says when the deadline passed here or there, and what grpc-gateway says.
LIBRARY_TIMED_OUT = "Deadline Exceeded"
TIMED_OUT = "context deadline exceeded"


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
        # The service has its own limit; what it refuses comes back as its error.
        ("grpc.max_send_message_length", -1),
        ("grpc.enable_retries", 0),
    )
    async with grpc.aio.insecure_channel(settings.ingest_target, options=options) as channel:
        yield Backend(channel, settings)


def call_error(error: grpc.aio.AioRpcError) -> CallError:
    """Translate gRPC's exception."""
    trailing = pairs(error.trailing_metadata())
    rich = next((value for name, value in trailing if name == DETAILS and isinstance(value, bytes)), None)
    code: int = error.code().value[0]
    text = error.details() or ""
    if code == code_pb2.DEADLINE_EXCEEDED and LIBRARY_TIMED_OUT in text:
        text = TIMED_OUT
    if code == code_pb2.UNAVAILABLE and "failed to connect" in text:
        # The library's text shows addresses of our network, several times.
        text = "the service behind the gateway cannot be reached"
    delay = retry_after(trailing)
    headers = {"Retry-After": delay} if delay else None
    return CallError(status_of(code, text, rich), headers, pairs(error.initial_metadata()), trailing)


def pairs(metadata: grpc.aio.Metadata | None) -> list[Pair]:
    """Return metadata as a list of pairs."""
    return [(str(name), value) for name, value in metadata or ()]
