"""IngestMetrics: what is taken from Kafka's client, and the labels of fields."""

from __future__ import annotations

import json
from typing import Any

import pytest
from confluent_kafka import Producer
from ugc.v1.event_pb2 import Event, Payload

from services.ingest.events.validation import EventValidator
from services.ingest.kafka import producers
from services.ingest.metrics import IngestMetrics, fields
from tests.support.clients.calls import EVENT_BYTES_MAX
from tests.support.fakes.producers import with_broker

LONG = "x" * 40_000


def test_fields() -> None:
    """Every violation of an event has a field that is a label."""
    payload = Payload(movie_id="x", user_id="x", event="", event_data=LONG, event_timestamp=-1)
    texts = dict.fromkeys(("language", "timezone", "ip", "version", "some_client_data", "event_id"), LONG)
    event = Event(payload=payload, **texts)
    validator = EventValidator(EVENT_BYTES_MAX * 10)
    _, violations = validator.check(event.SerializeToString())
    _, missing = validator.check(b"")
    _, unreadable = validator.check(b"\xff")
    names = {each.field for each in (*violations, *missing, *unreadable)}

    assert len(names) == len(payload.DESCRIPTOR.fields) + len(texts) + len(("payload", "event"))
    assert names <= set(fields())


def test_queue_of_the_client() -> None:
    """The bytes in the queue are those of the client's statistics; statistics that cannot be read change nothing."""
    metrics = IngestMetrics()
    metrics.client.statistics(json.dumps({"msg_size": 4_711, "brokers": {}}))
    metrics.client.statistics("{}")
    metrics.client.statistics("not JSON")

    assert metrics.saturation.queue_bytes.used.child().value == 4_711


async def test_replaced_producer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Statistics that a replaced producer still reports change nothing."""
    reports: list[Any] = []

    def open_producer(configuration: dict[str, Any]) -> Producer:
        reports.append(configuration["stats_cb"])
        return Producer(configuration)

    monkeypatch.setattr(producers, "Producer", open_producer)
    metrics = IngestMetrics()
    queue_bytes = metrics.saturation.queue_bytes.used.child()
    async with with_broker(monkeypatch, metrics=metrics) as opened:
        reports[0](json.dumps({"msg_size": 1}))
        before = queue_bytes.value
        opened._producers.limit_batches(20_000)
        reports[1](json.dumps({"msg_size": 20}))
        reports[0](json.dumps({"msg_size": 300}))

    assert (before, queue_bytes.value) == (1, 20)
