"""KafkaPublisher: what the producer gets of a batch, and the failures of those records that it does not take."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from services.ingest.events.records import Headers, Records
from services.ingest.kafka.errors import DeliveryFailure
from services.ingest.kafka.producers import Producers
from services.ingest.kafka.publisher import RECORDS_PER_CHECK, KafkaPublisher

TOPIC = "ugc.events"
# Timeout of waits that would otherwise hang a failing test.
WAIT_SECONDS_MAX = 60


class Producer:
    """Takes `room` messages and reports each at once as stored, by keeping no reference to its callback."""

    def __init__(self, room: int) -> None:
        self._room = room
        self.sent: list[tuple[str, bytes, bytes, int, Headers | None]] = []

    def produce(self, topic: str, value: bytes, key: bytes, partition: int, _delivered: Any, *rest: Any) -> None:
        if len(self.sent) == self._room:
            raise BufferError
        self.sent.append((topic, key, value, partition, rest[2] if rest else None))


def numbered(count: int) -> Records:
    """Return records that all differ."""
    return Records([b"key %d" % at for at in range(count)], [b"value %d" % at for at in range(count)])


async def published(wanted: Records, producer: Producer, headers: Headers | None) -> dict[int, DeliveryFailure]:
    """Publish and return the failures."""
    scripted: Any = producer
    work = KafkaPublisher(Producers(lambda _bytes: scripted), TOPIC).publish(wanted, headers)
    return await asyncio.wait_for(work, WAIT_SECONDS_MAX)


@pytest.mark.parametrize("headers", [None, [("x-request-id", b"a")]])
async def test_what_the_producer_gets(headers: Headers | None) -> None:
    """Each message has its own key and value, and the headers of the request."""
    wanted, producer = numbered(RECORDS_PER_CHECK + 2), Producer(RECORDS_PER_CHECK + 2)

    assert await published(wanted, producer, headers) == {}
    assert producer.sent == [(TOPIC, key, value, -1, headers) for key, value in wanted]


@pytest.mark.parametrize("room", [0, RECORDS_PER_CHECK - 1, RECORDS_PER_CHECK, RECORDS_PER_CHECK + 1])
@pytest.mark.parametrize("count", [RECORDS_PER_CHECK, RECORDS_PER_CHECK + 2])
async def test_queue_full(count: int, room: int) -> None:
    """The records beyond the queue's capacity fail, in whichever slice of the request they are."""
    wanted, producer = numbered(count), Producer(room)

    assert await published(wanted, producer, None) == dict.fromkeys(
        range(room, count), DeliveryFailure("the queue to Kafka is full")
    )
    assert [key for _topic, key, *_ in producer.sent] == wanted.keys[:room]
