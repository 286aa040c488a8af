"""Ingest's server in the test's own process, with the test's settings and a publisher without Kafka."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
from grpc_health.v1 import health_pb2

from common.settings import Address
from services.ingest.auth.authentication import Authenticator
from services.ingest.debug import DisabledDebugServicer
from services.ingest.events.validation import EventValidator, batch_limits
from services.ingest.metrics import IngestMetrics
from services.ingest.probes import Probes
from services.ingest.server import SERVING, serving
from services.ingest.servicer import IngestServicer, Publisher
from services.ingest.settings import IngestSettings
from tests.support.clients.calls import EVENT_BYTES_MAX, RETRY_SECONDS

ATTEMPTS = 600
SECONDS_MAX = 60.0
CHECK = "/grpc.health.v1.Health/Check"
# Otherwise channels to one address share a connection.
OWN_CONNECTION = (("grpc.use_local_subchannel_pool", 1),)


@contextlib.asynccontextmanager
async def ingest_server(
    publisher: Publisher,
    *,
    authenticator: Authenticator | None = None,
    credentials: grpc.ChannelCredentials | None = None,
    metrics: IngestMetrics | None = None,
    **changes: Any,
) -> AsyncIterator[str]:
    """Serve on a free port; yield the address once the health service reports SERVING, to `credentials` if given."""
    chosen: dict[str, Any] = {"ingest_listen": Address("127.0.0.1", 0), "ingest_drain_seconds": 0} | changes
    settings = IngestSettings(**chosen)
    validator = EventValidator(EVENT_BYTES_MAX)
    servicer = IngestServicer(validator, batch_limits(), publisher, RETRY_SECONDS, authenticator, metrics)
    probes = Probes(servicer.metrics)
    async with serving(settings, servicer, DisabledDebugServicer(), lambda _seconds: None, probes) as address:
        async with connection(str(address), credentials) as channel:
            await await_serving(channel)
        yield str(address)


def connection(address: str, credentials: grpc.ChannelCredentials | None = None) -> grpc.aio.Channel:
    """Return a channel with a connection of its own, by TLS with credentials."""
    if credentials is not None:
        return grpc.aio.secure_channel(address, credentials, options=OWN_CONNECTION)
    return grpc.aio.insecure_channel(address, options=OWN_CONNECTION)


async def await_serving(channel: grpc.aio.Channel) -> None:
    """Wait until the health service reports SERVING."""
    for _ in range(ATTEMPTS):
        if await health(channel) == SERVING:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("ingest did not begin to serve")


async def health(channel: grpc.aio.Channel) -> int:
    """Return the status that the health service reports."""
    check: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(CHECK)
    return health_pb2.HealthCheckResponse.FromString(await check(b"", timeout=SECONDS_MAX)).status
