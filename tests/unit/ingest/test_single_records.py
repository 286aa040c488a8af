"""KafkaPublisher.send: a single record, with a real producer."""

from __future__ import annotations

import asyncio
import threading

import pytest

from services.ingest.events.records import Record
from services.ingest.kafka.errors import DeliveryFailure
from services.ingest.kafka.lingering import Lingering
from tests.support.fakes.producers import with_broker

# Timeout of waits that would otherwise hang a failing test.
WAIT_SECONDS_MAX = 60


async def test_reports_are_processed_in_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports arrive on the thread of the event loop, so that they can answer calls directly."""
    async with with_broker(monkeypatch) as opened:
        done: asyncio.Future[tuple[int, DeliveryFailure | None]] = asyncio.get_running_loop().create_future()
        opened.send(Record(b"key", b"a"), None, lambda failure: done.set_result((threading.get_ident(), failure)))
        reported = await asyncio.wait_for(done, WAIT_SECONDS_MAX)

    assert reported == (threading.get_ident(), None)


async def test_unreachable_kafka_fails_single_records_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """While Kafka is unreachable a single record fails with the reason of the check, and is not written."""
    async with with_broker(monkeypatch) as opened:
        opened.reachability.problem = "Kafka: away"
        reported: list[DeliveryFailure | None] = []
        opened.send(Record(b"key", b"a"), None, reported.append)
        assert len(opened._producers.current) == 0

    assert reported == [DeliveryFailure("Kafka: away")]


async def test_waiting_records_are_sent_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Records that wait for their moment while the producer closes are sent, and reported."""
    reported: list[DeliveryFailure | None] = []
    async with with_broker(monkeypatch) as opened:
        opened.lingering = Lingering(opened._send, 3_600)
        for value in (b"a", b"b", b"c"):
            opened.send(Record(b"key", value), None, reported.append)

    assert reported == [None, None, None]
