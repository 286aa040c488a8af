"""The gateway and a fake ingest in this process, and clients for them."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import grpc
from grpc_health.v1 import health, health_pb2_grpc
from multidict import CIMultiDictProxy
from ugc.v1 import event_pb2, ingest_service_pb2, ingest_service_pb2_grpc

from common.settings import Address
from gateway.backend import connecting
from gateway.discovery import discovering
from gateway.metrics import GatewayMetrics
from gateway.process import build
from gateway.serving import serving
from gateway.settings import GatewaySettings

LOCAL = Address("127.0.0.1", 0)
BODY_BYTES_MAX = 4_096
# Far above what any test needs on a slow machine.
WAIT_SECONDS_MAX = 60
SEEN = ("x-request-id", "traceparent", "x-forwarded-for", "x-ugc-priority", "authorization")
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Ingest(ingest_service_pb2_grpc.IngestServiceServicer):
    """Accepts every event, with the statuses that ingest sets; an event named `slow` takes longer than any timeout."""

    async def Produce(self, request: event_pb2.Event, context: Any) -> Any:  # noqa: N802 -- named by gRPC
        if request.payload.event == "slow":
            await asyncio.sleep(30)
        seen = {key: value for key, value in context.invocation_metadata() if key in SEEN}
        identity = ("x-request-id", seen["x-request-id"])
        await context.send_initial_metadata(
            (("x-http-code", "201"), ("x-seen", json.dumps(seen, sort_keys=True)), identity)
        )
        context.set_trailing_metadata((identity,))
        return ingest_service_pb2.ProduceResponse(event_id=request.event_id)

    async def BatchProduce(self, request: event_pb2.EventBatch, context: Any) -> Any:  # noqa: N802 -- as above
        context.set_trailing_metadata((("x-http-code", "207"), ("x-request-id", "its-own"), ("x-more", "metadata")))
        return ingest_service_pb2.BatchProduceResponse(accepted=len(request.events))


@contextlib.asynccontextmanager
async def ingest(port: int, host: str = "127.0.0.1") -> AsyncIterator[health.aio.HealthServicer]:
    """Serve the fake ingest on a port; yield its health servicer."""
    # The same limit of metadata as in ingest.
    limits = (("grpc.max_metadata_size", 65_536), ("grpc.absolute_max_metadata_size", 65_536))
    server = grpc.aio.server(options=(("grpc.so_reuseport", 0), *limits))
    checks = health.aio.HealthServicer()
    ingest_service_pb2_grpc.add_IngestServiceServicer_to_server(Ingest(), server)  # type: ignore[no-untyped-call]  # generated
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    server.add_insecure_port(f"{host}:{port}")
    await server.start()
    try:
        yield checks
    finally:
        await server.stop(0)


@contextlib.asynccontextmanager
async def gateway(
    port: int, *, has_discovery: bool = True, metrics: GatewayMetrics | None = None, **changes: Any
) -> AsyncIterator[str]:
    """Serve the gateway in front of a port; yield its URL. Without discovery it calls the service for clients only."""
    metrics = metrics or GatewayMetrics()
    chosen = {
        "gateway_listen": LOCAL,
        "ingest_target": f"127.0.0.1:{port}",
        "gateway_drain_seconds": 0,
        "gateway_body_bytes_max": BODY_BYTES_MAX,
        "gateway_timeout_seconds": 2,
        "gateway_relay": has_discovery,
        **changes,
    }
    settings = GatewaySettings(**chosen)
    async with connecting(settings, metrics) as backend:
        made, source = build(settings, backend, metrics)
        async with discovering(made, backend, source if has_discovery else None), serving(made) as address:
            yield f"http://{address}"


async def post(url: str, body: bytes, **headers: str) -> tuple[int, Any, CIMultiDictProxy[str]]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    # The library warns about large bytes, but not about a file.
    async with aiohttp.ClientSession() as session, session.post(url, data=io.BytesIO(body), headers=named) as answer:
        return answer.status, json.loads(await answer.read()), answer.headers


async def until_taken(url: str, body: bytes, **headers: str) -> None:
    """Send until it is not 503: another request may hold the quota for a moment."""
    while (await post(url, body, **headers))[0] == 503:
        pass


async def open_connection(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to a gateway, to send bytes that no client library sends."""
    host, _, port = url.removeprefix("http://").partition(":")
    return await asyncio.open_connection(host, int(port))
