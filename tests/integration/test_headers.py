"""Kafka headers: the metadata of a request as a consumer of the real topic reads it."""

from __future__ import annotations

from pathlib import Path

from confluent_kafka import Consumer
from google.protobuf import json_format
from ugc.v1.event_pb2 import EventBatch, EventRecord

from local.processes.program import running
from tests.support.inputs.events import numbered
from tests.support.processes.system import CALL_SECONDS_MAX, Deployment, ingest_stub, post

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
TRACED = (("x-request-id", "request-1"), ("traceparent", PARENT), ("tracestate", "vendor=1"), ("x-other", "x"))


def consumed(deployment: Deployment, count: int) -> dict[str, object]:
    """Read the topic from its beginning; return the headers of each event by its client data."""
    consumer = Consumer(
        {"bootstrap.servers": deployment.kafka, "group.id": deployment.topic, "auto.offset.reset": "earliest"}
    )
    consumer.subscribe([deployment.topic])
    found: dict[str, object] = {}
    try:
        while len(found) < count:
            message = consumer.poll(CALL_SECONDS_MAX)
            assert message is not None, f"{len(found)} of {count} events came"
            assert message.error() is None
            found[EventRecord.FromString(message.value() or b"").event.some_client_data] = message.headers()
    finally:
        consumer.close()
    return found


def test_headers_reach_a_consumer(tmp_path: Path, kafka: str, topic: str) -> None:
    """Each message of a request with a request id and a trace context has both, and no other message has them."""
    deployment = Deployment(tmp_path, kafka, topic, database="clickhouse://default@127.0.0.1:9/none")
    by_rest = json_format.MessageToJson(numbered(4)).encode()
    headers = {"X-Request-Id": "request-2", "traceparent": PARENT, "tracestate": "vendor=1", "X-Other": "x"}
    with running(deployment.ingest()), running(deployment.gateway()), ingest_stub(deployment.ingest_address) as stub:
        assert post(f"{deployment.gateway_url}/api/v1/produce", by_rest, headers)[0] == 201
        stub.Produce(numbered(0), metadata=TRACED, timeout=CALL_SECONDS_MAX)
        stub.BatchProduce(EventBatch(events=[numbered(1), numbered(2)]), metadata=TRACED[:1], timeout=CALL_SECONDS_MAX)
        stub.Produce(numbered(3), timeout=CALL_SECONDS_MAX)

    assert consumed(deployment, 5) == {
        "0": [("x-request-id", b"request-1"), ("traceparent", PARENT.encode()), ("tracestate", b"vendor=1")],
        "1": [("x-request-id", b"request-1")],
        "2": [("x-request-id", b"request-1")],
        "3": None,
        "4": [("x-request-id", b"request-2"), ("traceparent", PARENT.encode()), ("tracestate", b"vendor=1")],
    }
