"""Records that a real broker rejects, and a broker that is unreachable: clients get the right error without delay."""

from __future__ import annotations

import asyncio
import contextlib
import os
import uuid
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # of modules of their own
from google.rpc.error_details_pb2 import BadRequest
from ugc.v1.event_pb2 import EventBatch
from ugc.v1.ingest_service_pb2_grpc import IngestServiceStub

from local.processes.ports import free_port
from services.ingest.kafka.publisher import KafkaPublisher, publishing
from services.ingest.kafka.reachability import UnreachableError
from services.ingest.settings import IngestSettings
from tests.support.clients.calls import failure, ingest_channel
from tests.support.inputs.events import valid

TOPIC_BYTES_MAX = 20_000
SECONDS_MAX = 60.0
CODES = {name: code.value[0] for name, code in grpc.StatusCode.__members__.items()}


def incompressible(characters: int) -> str:
    """Return a text that is hardly compressible."""
    return os.urandom(characters).hex()[:characters]


@pytest.fixture
async def small_topic(kafka: str) -> str:
    """Create a topic whose batches have at most 20,000 bytes."""
    name = f"small-{uuid.uuid4().hex}"
    topic = NewTopic(name, 1, 1, config={"max.message.bytes": str(TOPIC_BYTES_MAX)})
    client = AdminClient({"bootstrap.servers": kafka})
    await asyncio.to_thread(client.create_topics([topic])[name].result, SECONDS_MAX)
    return name


@contextlib.asynccontextmanager
async def ingest(kafka: str, topic: str, **changes: Any) -> AsyncIterator[tuple[IngestServiceStub, KafkaPublisher]]:
    """Serve with a real producer."""
    settings = IngestSettings(kafka_bootstrap_servers=kafka, kafka_topic=topic, **changes)
    async with publishing(settings) as publisher, ingest_channel(publisher) as channel:
        yield IngestServiceStub(channel), publisher  # type: ignore[no-untyped-call]  # generated


async def test_event_larger_than_the_topic_takes(kafka: str, small_topic: str) -> None:
    """A larger event than the topic takes is INVALID_ARGUMENT and names the limit, alone and in a batch."""
    async with ingest(kafka, small_topic) as (stub, publisher):
        await asyncio.to_thread(publisher.reachability.check, SECONDS_MAX)
        large = valid(event_data=incompressible(30_000))
        status = await failure(stub.Produce(large))
        details = BadRequest()

        assert status.code == CODES["INVALID_ARGUMENT"]
        assert "max.message.bytes" in status.message
        assert status.details[0].Unpack(details)
        assert [each.field for each in details.field_violations] == ["event"]
        answer = await stub.BatchProduce(EventBatch(events=[valid(), large, valid()]))
        assert (answer.accepted, [each.index for each in answer.rejected]) == (2, [1])
        assert answer.rejected[0].error.code == CODES["INVALID_ARGUMENT"]
        status = await failure(stub.BatchProduce(EventBatch(events=[large, large])))
        assert (status.code, status.message.partition(":")[0]) == (CODES["INVALID_ARGUMENT"], "events[0]")


@pytest.mark.parametrize("size", [100, 1_000, 9_000, 18_000])
async def test_events_that_fit_singly(kafka: str, small_topic: str, size: int) -> None:
    """Events of which each fits are stored, however many arrive at once: batches follow the topic's limit."""
    async with ingest(kafka, small_topic) as (stub, publisher):
        await asyncio.to_thread(publisher.reachability.check, SECONDS_MAX)
        events = [valid(event_data=incompressible(size)) for _ in range(100)]

        assert (await stub.BatchProduce(EventBatch(events=events))).accepted == 100


async def test_unknown_limit(kafka: str, small_topic: str) -> None:
    """Events in a batch that is too large before the limit is known are UNAVAILABLE; a retry stores them."""
    async with ingest(kafka, small_topic, ingest_linger_seconds=0.2) as (stub, publisher):
        batch = EventBatch(events=[valid(event_data=incompressible(1_000)) for _ in range(100)])
        assert (await failure(stub.BatchProduce(batch))).code == CODES["UNAVAILABLE"]
        await asyncio.to_thread(publisher.reachability.check, SECONDS_MAX)

        assert (await stub.BatchProduce(batch)).accepted == 100


async def test_unreachable() -> None:
    """After two failed checks events are UNAVAILABLE at once, not after the delivery timeout."""
    async with ingest(f"127.0.0.1:{free_port()}", "any", ingest_delivery_seconds_max=200.0) as (stub, publisher):
        for _ in range(2):
            with pytest.raises(UnreachableError):
                await asyncio.to_thread(publisher.reachability.check, 0.1)
        status = await asyncio.wait_for(failure(stub.Produce(valid())), SECONDS_MAX)
        batch = await asyncio.wait_for(failure(stub.BatchProduce(EventBatch(events=[valid()] * 3))), SECONDS_MAX)

    assert status.code == batch.code == CODES["UNAVAILABLE"]
    assert len(status.details) == len(batch.details) == 1
