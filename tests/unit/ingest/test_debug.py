"""DebugService: its events are valid and differ, their number is limited, and a disabled service names its setting."""

from __future__ import annotations

import random

import grpc
import pytest
from google.rpc.status_pb2 import Status
from ugc.v1.debug_service_pb2 import RandomBatchProduceRequest
from ugc.v1.ingest_service_pb2 import BatchProduceResponse

from services.ingest.debug import EVENTS_DEFAULT, random_batch
from services.ingest.events.validation import EventValidator
from tests.support.clients.calls import EVENT_BYTES_MAX, FakePublisher, failure, ingest_channel

MANY = 2_000
NOW_SECONDS = 1_700_000_000


async def produce(request: bytes, publisher: FakePublisher) -> BatchProduceResponse:
    """Call the enabled service."""
    async with ingest_channel(publisher) as channel:
        return BatchProduceResponse.FromString(await call(channel, request))


async def rejection(request: bytes, *, debug: bool = True) -> Status:
    """Return the error of a call that must fail."""
    async with ingest_channel(FakePublisher(), debug=debug) as channel:
        return await failure(call(channel, request))


def call(channel: grpc.aio.Channel, request: bytes) -> grpc.aio.UnaryUnaryCall[bytes, bytes]:
    method: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
        "/ugc.v1.DebugService/RandomBatchProduce"
    )
    return method(request)


def test_events_are_valid_and_differ() -> None:
    """2,000 random events of a seed are valid, and no two are equal."""
    events = random_batch(MANY, NOW_SECONDS, random.Random(9)).events
    rules = EventValidator(EVENT_BYTES_MAX)

    assert [rules.violations(event) for event in events] == [[]] * MANY
    assert len({event.SerializeToString() for event in events}) == MANY
    assert all(event.payload.event_timestamp <= NOW_SECONDS for event in events)


@pytest.mark.parametrize(
    ("request_message", "made"),
    [
        (RandomBatchProduceRequest(), EVENTS_DEFAULT),
        (RandomBatchProduceRequest(batch_count=1), 1),
        (RandomBatchProduceRequest(batch_count=10_000), 10_000),
    ],
)
async def test_enabled(request_message: RandomBatchProduceRequest, made: int) -> None:
    """As many events as requested are stored as BatchProduce stores them."""
    publisher = FakePublisher()

    assert (await produce(request_message.SerializeToString(), publisher)).accepted == made
    assert len(publisher.records) == made


@pytest.mark.parametrize("count", [-1, 0, 10_001])
async def test_limits(count: int) -> None:
    """The number of events is limited, and the error names the limits."""
    status = await rejection(RandomBatchProduceRequest(batch_count=count).SerializeToString())

    assert status.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert status.message == (
        f"batch_count: must be greater than or equal to 1 and less than or equal to 10000, not {count}"
    )


async def test_garbage() -> None:
    """Bytes that are not a valid message are INVALID_ARGUMENT."""
    assert (await rejection(b"\xff")).code == grpc.StatusCode.INVALID_ARGUMENT.value[0]


async def test_disabled() -> None:
    """The service is disabled by default: NOT_FOUND, with the setting that enables it."""
    status = await rejection(b"", debug=False)

    assert status.code == grpc.StatusCode.NOT_FOUND.value[0]
    assert "UGC_INGEST_DEBUG=true" in status.message
