"""Kafka by an IPv6 address: the bootstrap server `[::1]` of the settings."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from common.settings import check_servers
from services.ingest.events.records import Records
from services.ingest.kafka.publisher import publishing
from services.ingest.settings import IngestSettings
from tests.support.processes.ipv6 import needs_ipv6

ANSWER_SECONDS_MAX = 60
CHUNK_BYTES = 65_536


@contextlib.asynccontextmanager
async def forwarded(target: str) -> AsyncIterator[int]:
    """Listen on ::1 only and forward connections; yield the port."""
    host, _, port = target.rpartition(":")
    tasks: set[asyncio.Task[None]] = set()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(CHUNK_BYTES):
                writer.write(data)
                await writer.drain()
        finally:
            writer.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        other_reader, other_writer = await asyncio.open_connection(host, int(port))
        tasks.update({asyncio.create_task(pump(reader, other_writer)), asyncio.create_task(pump(other_reader, writer))})

    server = await asyncio.start_server(accept, "::1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        # A closed connection ends with the next turn of the event loop.
        await asyncio.sleep(0)


@needs_ipv6
async def test_bootstrap_server(kafka: str, topic: str) -> None:
    """The Kafka client finds the cluster by an IPv6 address, and events are acknowledged."""
    async with forwarded(kafka) as port:
        servers = f"127.0.0.1:1,[::1]:{port}"
        settings = IngestSettings(kafka_bootstrap_servers=check_servers(servers), kafka_topic=topic)
        async with publishing(settings) as publisher:
            await asyncio.to_thread(publisher.reachability.check, ANSWER_SECONDS_MAX)
            assert await publisher.publish(Records([b"key"], [b"value"])) == {}
