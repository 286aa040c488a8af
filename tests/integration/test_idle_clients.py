"""The whole system under clients that are idle in every way at once: other clients are not affected."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import grpc
from ugc.v1.event_pb2 import EventBatch

from common.settings import parse_address
from local.processes.program import running
from local.up.example import DOCUMENTED_EVENT
from services.ingest.server import SERVING
from tests.integration.test_silent_clients import BATCH_PRODUCE, METHODS, PRODUCE, idle_connections, silent_streams
from tests.support.inputs.events import documented
from tests.support.processes.ingest_server import connection, health
from tests.support.processes.system import Deployment

SILENT_STREAMS, SILENT_BODIES, IDLE_CONNECTIONS = 1_100, 300, 2_000
CALLS = 60
SECONDS_MAX = 60.0
HALF_A_REQUEST = b"POST /api/v1/produce HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n{"
BATCH_EVENTS = 20


async def test_other_clients_are_served(tmp_path: Path, kafka: str, topic: str, database: str) -> None:
    """With 1,100 silent streams, 300 bodies that never arrive and 2,000 idle connections all calls succeed."""
    deployment = Deployment(tmp_path, kafka, topic, database)
    with running(deployment.ingest()), running(deployment.gateway()):
        async with contextlib.AsyncExitStack() as idlers:
            for method in METHODS:
                streams = silent_streams(deployment.ingest_address, method, 2, SILENT_STREAMS // len(METHODS) + 1)
                await idlers.enter_async_context(streams)
            await idlers.enter_async_context(idle_connections(deployment.ingest_address, IDLE_CONNECTIONS // 2))
            gateway = f"127.0.0.1:{deployment.gateway_port}"
            await idlers.enter_async_context(idlers_of(gateway, b"", IDLE_CONNECTIONS // 2))
            await idlers.enter_async_context(idlers_of(gateway, HALF_A_REQUEST, SILENT_BODIES))

            await asyncio.gather(assert_grpc_served(deployment), assert_rest_served(deployment))


async def assert_grpc_served(deployment: Deployment) -> None:
    """Call both methods repeatedly: each call succeeds, and health stays SERVING."""
    event, batch = (
        documented().SerializeToString(),
        EventBatch(events=[documented()] * BATCH_EVENTS).SerializeToString(),
    )
    async with connection(deployment.ingest_address) as channel:
        for _ in range(CALLS):
            for method, message in ((PRODUCE, event), (BATCH_PRODUCE, batch)):
                call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method)
                assert await call(message, timeout=SECONDS_MAX)
            assert await health(channel) == SERVING


async def assert_rest_served(deployment: Deployment) -> None:
    """Do the same through the gateway, and probe its readiness."""
    timeout = aiohttp.ClientTimeout(SECONDS_MAX)
    async with aiohttp.ClientSession(deployment.gateway_url, timeout=timeout) as session:
        for _ in range(CALLS):
            for path, body in (("produce", DOCUMENTED_EVENT), ("batch_produce", f"[{DOCUMENTED_EVENT}]")):
                async with session.post(f"/api/v1/{path}", data=body) as answer:
                    assert answer.status == 201, await answer.text()
            for probe in ("healthz", "readyz"):
                async with session.get(f"/{probe}") as answer:
                    assert answer.status == 200, await answer.text()


@contextlib.asynccontextmanager
async def idlers_of(address: str, sent: bytes, count: int) -> AsyncIterator[None]:
    """Keep idle connections open on which only this was sent, and reopen each that the server closes."""
    idlers = [asyncio.create_task(always_idle(address, sent)) for _ in range(count)]
    yield
    assert not [idler for idler in idlers if idler.done()]
    for idler in idlers:
        idler.cancel()
    await asyncio.gather(*idlers, return_exceptions=True)


async def always_idle(address: str, sent: bytes) -> None:
    """Send the bytes, wait until the server closes the connection, and begin again."""
    host, port = parse_address(address)
    while True:
        reader, writer = await asyncio.open_connection(host, port)
        try:
            writer.write(sent)
            with contextlib.suppress(ConnectionError):
                while await reader.read(1_000):
                    pass
        finally:
            writer.close()
