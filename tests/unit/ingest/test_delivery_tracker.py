"""DeliveryTracker: a request is answered when the Kafka client has released the callback of its last message."""

from __future__ import annotations

import asyncio
import weakref
from typing import Any

import pytest
from confluent_kafka import KafkaError

from services.ingest.events.records import Records
from services.ingest.kafka.errors import DeliveryFailure
from services.ingest.kafka.producers import Producers
from services.ingest.kafka.publisher import KafkaPublisher
from tests.support.fakes.producers import TIMED_OUT, TOPIC, Report

RECORDS = Records([b"key"] * 3, [b"a", b"b", b"c"])
TIMEOUT = DeliveryFailure("Kafka: Local: Message timed out")
# Timeout of a wait that would otherwise hang a failing test.
WAIT_SECONDS_MAX = 60


class Released:
    """A producer that keeps each message's callback until the test reports it, as the Kafka client does."""

    def __init__(self) -> None:
        self.held: list[Any] = []

    def produce(self, _topic: str, value: bytes, _key: bytes, _partition: int, callback: Any, *_: Any) -> None:
        self.held.append((callback, value))

    def report(self, error: KafkaError | None = None) -> None:
        """Report the oldest message; a success is not passed to the callback."""
        callback, value = self.held.pop(0)
        if error is not None:
            callback(error, Report(value))


@pytest.mark.parametrize("failing", [frozenset[int](), frozenset({0}), frozenset({2}), frozenset({0, 1, 2})])
@pytest.mark.parametrize("other_thread", [False, True])
async def test_success_without_call(failing: frozenset[int], *, other_thread: bool) -> None:
    """A request is answered when the last report has been processed and not before, though successes call nothing."""
    producer = Released()
    scripted: Any = producer
    work = asyncio.ensure_future(KafkaPublisher(Producers(lambda _bytes: scripted), TOPIC).publish(RECORDS))
    for index in range(len(RECORDS)):
        await asyncio.sleep(0)
        assert not work.done()
        error = TIMED_OUT if index in failing else None
        if other_thread:
            await asyncio.to_thread(producer.report, error)
        else:
            producer.report(error)

    assert await asyncio.wait_for(work, WAIT_SECONDS_MAX) == dict.fromkeys(failing, TIMEOUT)


async def test_cancelled_request() -> None:
    """The reports of a request that was cancelled are processed, and nothing is left of it."""
    producer = Released()
    scripted: Any = producer
    work = asyncio.ensure_future(KafkaPublisher(Producers(lambda _bytes: scripted), TOPIC).publish(RECORDS))
    await asyncio.sleep(0)
    callback = weakref.ref(producer.held[0][0])
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    producer.report(TIMED_OUT)
    producer.report()
    assert callback() is not None
    producer.report()

    assert callback() is None


class Unreadable(Report):
    """A report whose message cannot be read."""

    def value(self) -> bytes:
        raise MemoryError


async def test_failure_that_cannot_be_assigned() -> None:
    """If a failure cannot be assigned to a record, no record of its request is answered with success."""
    producer = Released()
    scripted: Any = producer
    work = asyncio.ensure_future(KafkaPublisher(Producers(lambda _bytes: scripted), TOPIC).publish(RECORDS))
    await asyncio.sleep(0)
    callback, value = producer.held.pop(0)
    with pytest.raises(MemoryError):
        callback(TIMED_OUT, Unreadable(value))
    del callback
    producer.held.clear()

    assert await asyncio.wait_for(work, WAIT_SECONDS_MAX) == dict.fromkeys(range(len(RECORDS)), TIMEOUT)
