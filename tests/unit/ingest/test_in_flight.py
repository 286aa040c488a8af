"""What is counted as in flight ends at nothing, whatever happens to the events."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import Any

import pytest
from ugc.v1.event_pb2 import EventBatch

from common.networks import LOOPBACK
from services.ingest.call import StatusError
from services.ingest.events.records import Record, Records
from services.ingest.events.validation import EventValidator, batch_limits
from services.ingest.kafka.errors import DeliveryFailure
from services.ingest.kafka.publisher import KafkaPublisher
from services.ingest.limits.acknowledgements import AckMeter
from services.ingest.limits.callers import CallerNames
from services.ingest.limits.event_admission import EventAdmission
from services.ingest.servicer import IngestServicer
from tests.support.clients.calls import EVENT_BYTES_MAX, RETRY_SECONDS, BlockingPublisher, plain_call
from tests.support.fakes.producers import with_broker
from tests.support.inputs.events import documented, valid

SECONDS_MAX = 60.0
REQUESTS = 120
BATCH = EventBatch(events=[documented()] * 700).SerializeToString()


def records(count: int) -> Records:
    return Records([b"key %d" % at for at in range(count)], [b"value %d" % at for at in range(count)])


async def publish_at_random(publisher: KafkaPublisher, chance: random.Random) -> None:
    """Publish single records and batches, of which some are cancelled at some moment."""
    tasks: list[asyncio.Task[dict[int, DeliveryFailure]]] = []
    reported: list[DeliveryFailure | None] = []
    for _ in range(REQUESTS):
        if chance.random() < 0.5:
            publisher.send(Record(b"key", b"value"), None, reported.append)
        else:
            tasks.append(asyncio.ensure_future(publisher.publish(records(chance.choice((1, 20, 251, 900))))))
        if tasks and chance.random() < 0.3:
            chance.choice(tasks).cancel()
        await asyncio.sleep(chance.choice((0, 0, 0, 0.001)))
    await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), SECONDS_MAX)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "configuration",
    [
        {},
        {"queue.buffering.max.messages": 300},
        {"message.timeout.ms": 20, "request.timeout.ms": 20},
        {"message.timeout.ms": 300, "request.timeout.ms": 300, "bootstrap.servers": "127.0.0.1:1", "test.mock": False},
    ],
    ids=["stored", "queue full", "timed out", "unreachable"],
)
async def test_publisher(monkeypatch: pytest.MonkeyPatch, configuration: dict[str, Any], seed: int) -> None:
    """Stored, rejected, timed out, cancelled: at the end nothing is counted as in flight."""
    meter = AckMeter()
    changes = dict(configuration)
    if changes.pop("test.mock", True) is False:
        changes["test.mock.num.brokers"] = 0
    async with with_broker(monkeypatch, meter=meter, **changes) as publisher:
        await publish_at_random(publisher, random.Random(seed))
        publisher.lingering.send_all()
        assert await publisher.polling.drain(SECONDS_MAX) == 0
        publisher.polling.tick()

    assert meter.handed > 100
    assert (meter.in_flight, meter.pending) == (0, 0)


@pytest.mark.parametrize("turns", range(12))
async def test_cancelled_batches(turns: int) -> None:
    """A batch that is cancelled while it is validated, or waits for its turn, does not count any more."""
    admission = event_admission()
    servicer = ingest(admission, BlockingPublisher())
    tasks = [asyncio.ensure_future(servicer.batch_produce(BATCH, plain_call())) for _ in range(5)]
    for _ in range(turns):
        await asyncio.sleep(0)
    assert turns == 0 or admission.meter.pending in range(0, 5 * 700 + 1, 700)
    for task in tasks:
        task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.gather(*tasks)

    assert (admission.meter.in_flight, admission.meter.pending) == (0, 0)


@pytest.mark.parametrize("request_bytes", [BATCH[:-1], EventBatch(events=[valid(movie_id="x")]).SerializeToString()])
async def test_refused_batches(request_bytes: bytes) -> None:
    """A batch that is not valid is not counted."""
    admission = event_admission()
    with pytest.raises(StatusError):
        await ingest(admission, BlockingPublisher()).batch_produce(request_bytes, plain_call())

    assert (admission.meter.in_flight, admission.meter.pending) == (0, 0)


async def test_refused_before_validation() -> None:
    """Beyond the limit a batch is refused before it is validated: an invalid one gets the same answer."""
    admission = event_admission()
    admission.meter.reserve(100_000)
    invalid = EventBatch(events=[valid(movie_id="x")] * 3).SerializeToString()
    servicer = ingest(admission, BlockingPublisher())
    for produced in (servicer.batch_produce(invalid, plain_call()), servicer.produce(b"\xff", plain_call())):
        with pytest.raises(StatusError, match="100000 events wait for Kafka, retry later"):
            await produced

    assert admission.shed.limit == 4


def event_admission() -> EventAdmission:
    return EventAdmission(200, 200_000, 0.25, RETRY_SECONDS, CallerNames(LOOPBACK))


def ingest(admission: EventAdmission, publisher: BlockingPublisher) -> IngestServicer:
    return IngestServicer(
        EventValidator(EVENT_BYTES_MAX), batch_limits(), publisher, RETRY_SECONDS, admission=admission
    )
