"""Fakes of Kafka for the publisher: a producer whose delivery reports the test chooses, and a mock broker."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from confluent_kafka import KafkaError

from services.ingest.kafka import publisher
from services.ingest.kafka.configuration import producer_configuration
from services.ingest.kafka.publisher import KafkaPublisher, publishing
from services.ingest.limits.acknowledgements import AckMeter
from services.ingest.metrics import IngestMetrics
from services.ingest.settings import IngestSettings

TOPIC = "ugc.events"
TIMED_OUT = KafkaError(KafkaError._MSG_TIMED_OUT)


class Report:
    """A delivery report's message."""

    def __init__(self, value: bytes) -> None:
        self._value = value

    def value(self) -> bytes:
        return self._value


class ScriptedProducer:
    """Takes `room` records, then raises; reports for each record whether it was stored, from a thread of its own."""

    def __init__(self, room: int, error: Exception, *, failing: Callable[[int], bool], late: bool) -> None:
        self.room = room
        self.error = error
        self.failing = failing
        self.late = late
        self.taken: list[tuple[bytes, bytes]] = []
        self.reports: list[threading.Thread] = []

    def produce(self, topic: str, value: bytes, key: bytes, partition: int, delivered: Any, *_: Any) -> None:
        assert (topic, partition) == (TOPIC, -1)
        index = len(self.taken)
        if index == self.room:
            # Not the object itself: its traceback would keep the callback, and so the request would wait.
            raise type(self.error)(*self.error.args)
        self.taken.append((key, value))
        error = TIMED_OUT if self.failing(index) else None
        report = threading.Thread(target=delivered, args=(error, Report(value)))
        if self.late:
            self.reports.append(report)
        else:
            report.start()
            report.join()

    def report(self) -> None:
        """Send the reports that were kept back, and keep no reference to their callback."""
        reports, self.reports = self.reports, []
        for each in reports:
            each.start()


@contextlib.asynccontextmanager
async def with_broker(
    monkeypatch: pytest.MonkeyPatch,
    meter: AckMeter | None = None,
    metrics: IngestMetrics | None = None,
    **changes: Any,
) -> AsyncIterator[KafkaPublisher]:
    """Publish to librdkafka's mock broker, whose topics have 4 partitions."""
    monkeypatch.setattr(
        publisher,
        "producer_configuration",
        lambda settings: {**producer_configuration(settings), "test.mock.num.brokers": 1, **changes},
    )
    async with publishing(IngestSettings(), metrics, meter) as opened:
        yield opened
