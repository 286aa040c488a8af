"""A sampled request is one trace from HTTP through ingest into Kafka; a request that is not sampled makes no span."""

from __future__ import annotations

import contextlib
import json
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from confluent_kafka import Consumer
from google.protobuf import json_format
from ugc.v1.event_pb2 import EventBatch, EventRecord

from common.trace_context import trace_id_of
from local.processes.ports import free_port
from local.processes.program import running
from tests.support.inputs.events import numbered
from tests.support.processes.collector import Collector, Received, await_request, collecting
from tests.support.processes.system import CALL_SECONDS_MAX, Deployment, ingest_stub, post

CLIENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
UNSAMPLED = f"{CLIENT[:-1]}0"
NO_DATABASE = "clickhouse://default@127.0.0.1:9/none"
HTTP, CALL, SEND = "POST /api/v1/produce", "ugc.v1.IngestService/Produce", "send "
# The histogram of each process whose exemplars are traces, by the setting of its listener.
MANAGEMENT = {
    "UGC_GATEWAY_MANAGEMENT_LISTEN": "http_server_request_duration_seconds",
    "UGC_INGEST_MANAGEMENT_LISTEN": "rpc_server_call_duration_seconds",
}
HEADERS = {"traceparent": CLIENT, "tracestate": "vendor=1", "X-Request-Id": "request-7"}
# The ways of a request through gateway and ingest: on the fast lane and in a stream, or neither.
WAYS = {
    "lane and relay": {},
    "lane": {"UGC_GATEWAY_RELAY": "false"},
    "relay": {"UGC_GATEWAY_LANE": "false"},
    "neither": {"UGC_GATEWAY_RELAY": "false", "UGC_GATEWAY_LANE": "false"},
}


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as running_collector:
        yield running_collector


@contextlib.contextmanager
def front(deployment: Deployment) -> Iterator[Deployment]:
    """Run ingest and the gateway."""
    with running(deployment.ingest()), running(deployment.gateway()):
        yield deployment


def headers_in_kafka(deployment: Deployment, count: int) -> list[dict[str, str | bytes | None]]:
    """Read the headers of so many messages."""
    consumer = Consumer(
        {"bootstrap.servers": deployment.kafka, "group.id": deployment.topic, "auto.offset.reset": "earliest"}
    )
    consumer.subscribe([deployment.topic])
    found: list[dict[str, str | bytes | None]] = []
    try:
        while len(found) < count:
            message = consumer.poll(CALL_SECONDS_MAX)
            assert message is not None, f"{len(found)} of {count} events came"
            assert EventRecord.FromString(message.value() or b"")
            found.append(dict(message.headers() or ()))
    finally:
        consumer.close()
    return found


def open_metrics(address: str) -> str:
    """Return the metrics of a process in the form that has exemplars."""
    request = urllib.request.Request(
        f"http://{address}/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"}
    )
    with urllib.request.urlopen(request, timeout=CALL_SECONDS_MAX) as answer:
        text: str = answer.read().decode()
    return text


def exemplars(text: str, family: str) -> int:
    """Return how many buckets of a histogram have the client's trace as exemplar."""
    wanted = f'# {{trace_id="{trace_id_of(CLIENT)}"}}'
    return sum(line.startswith(f"{family}_bucket") and wanted in line for line in text.splitlines())


def names(spans: Sequence[Received]) -> list[str]:
    return [span.name for span in spans]


@pytest.mark.parametrize("way", WAYS)
def test_one_request(tmp_path: Path, kafka: str, topic: str, collector: Collector, way: str) -> None:
    """Each span is the parent of the next one, on every way; the message in Kafka has the traceparent of the last."""
    collector.spans.clear()
    listens = {name: f"127.0.0.1:{free_port()}" for name in MANAGEMENT}
    settings = {"UGC_TRACE_ENDPOINT": collector.endpoint, **WAYS[way], **listens}
    with front(Deployment(tmp_path, kafka, topic, NO_DATABASE, settings)) as deployment:
        body = json_format.MessageToJson(numbered(1)).encode()
        assert post(f"{deployment.gateway_url}/api/v1/produce", body, HEADERS)[0] == 201
        spans = await_request(collector, topic)
        (message,) = headers_in_kafka(deployment, 1)
        metrics = [open_metrics(listens[name]) for name in MANAGEMENT]

    assert names(spans) == [HTTP, CALL, CALL, SEND + topic]
    assert [exemplars(text, family) for text, family in zip(metrics, MANAGEMENT.values(), strict=True)] == [1, 1]
    assert [span.kind for span in spans] == ["server", "client", "server", "producer"]
    assert {span.trace_id for span in spans} == {trace_id_of(CLIENT)}
    assert [span.parent for span in spans] == [CLIENT[36:52], *(span.id for span in spans[:-1])]
    assert message == {
        "x-request-id": b"request-7",
        "traceparent": spans[-1].traceparent.encode(),
        "tracestate": b"vendor=1",
    }
    http, call, served, sent = (span.attributes for span in spans)
    assert http == {
        "http.request.method": "POST",
        "http.route": "/api/v1/produce",
        "http.response.status_code": 201,
        "ugc.request_id": "request-7",
    }
    assert call | {"server.address": deployment.ingest_address} == {
        "rpc.system.name": "grpc",
        "rpc.method": CALL,
        "rpc.response.status_code": "OK",
        "server.address": deployment.ingest_address,
    }
    assert served["rpc.response.status_code"] == "OK"
    assert (sent["messaging.destination.name"], sent["messaging.batch.message_count"]) == (topic, 1)


def test_other_requests(tmp_path: Path, kafka: str, topic: str, collector: Collector) -> None:
    """Requests that are not sampled make no span, whichever way they take; their traceparent reaches Kafka as it is."""
    collector.spans.clear()
    bad = numbered(2)
    bad.payload.movie_id = "x"
    with (
        front(
            Deployment(tmp_path, kafka, topic, NO_DATABASE, {"UGC_TRACE_ENDPOINT": collector.endpoint})
        ) as deployment,
        ingest_stub(deployment.ingest_address) as stub,
    ):
        url, body = f"{deployment.gateway_url}/api/v1/produce", json_format.MessageToJson(numbered(1)).encode()
        for headers in ({"traceparent": UNSAMPLED}, {"traceparent": "00-malformed-01"}, {}):
            assert post(url, body, headers)[0] == 201
        stub.Produce(numbered(3), metadata=[("traceparent", UNSAMPLED)], timeout=CALL_SECONDS_MAX)
        assert post(url, json_format.MessageToJson(bad).encode(), {"traceparent": CLIENT})[0] == 400
        (refused,) = collector.await_spans(HTTP)
        messages = headers_in_kafka(deployment, 4)
        lines = [line for line in deployment.log("ingest").splitlines() if "INVALID_ARGUMENT" in line]

    assert [json.loads(line)["trace_id"] for line in lines] == [trace_id_of(CLIENT)]
    assert refused.attributes["http.response.status_code"] == 400
    assert [message.get("traceparent") for message in messages].count(UNSAMPLED.encode()) == 2
    assert {span.trace_id for span in collector.spans} == {trace_id_of(CLIENT)}


def test_batch_by_grpc(tmp_path: Path, kafka: str, topic: str, collector: Collector) -> None:
    """A call of a client of gRPC is a trace too; all messages of a batch have the traceparent of its one span."""
    collector.spans.clear()
    settings = {"UGC_TRACE_ENDPOINT": collector.endpoint}
    deployment = Deployment(tmp_path, kafka, topic, NO_DATABASE, settings)
    with running(deployment.ingest()), ingest_stub(deployment.ingest_address) as stub:
        batch = EventBatch(events=[numbered(number) for number in range(3)])
        stub.BatchProduce(batch, metadata=[("traceparent", CLIENT)], timeout=CALL_SECONDS_MAX)
        (sending,) = collector.await_spans(SEND + topic)
        messages = headers_in_kafka(deployment, 3)

    assert messages == [{"traceparent": sending.traceparent.encode()}] * 3
    assert sending.attributes["messaging.batch.message_count"] == 3


def test_head_sampling(tmp_path: Path, kafka: str, topic: str, collector: Collector) -> None:
    """With a ratio of 1 every request without a traceparent is traced, and a client's decision stays its own."""
    collector.spans.clear()
    settings = {"UGC_TRACE_ENDPOINT": collector.endpoint, "UGC_TRACE_RATIO": "1"}
    with front(Deployment(tmp_path, kafka, topic, NO_DATABASE, settings)) as deployment:
        url, body = f"{deployment.gateway_url}/api/v1/produce", json_format.MessageToJson(numbered(1)).encode()
        assert post(url, body, {"traceparent": UNSAMPLED})[0] == 201
        assert post(url, body)[0] == 201
        spans = await_request(collector, topic)

    assert names(spans) == [HTTP, CALL, CALL, SEND + topic]
    assert spans[0].parent == ""
    assert {span.trace_id for span in collector.spans} == {spans[0].trace_id} != {trace_id_of(CLIENT)}


def test_collector_is_away(tmp_path: Path, kafka: str, topic: str) -> None:
    """Requests are answered as ever while the collector does not answer, and both processes end in time."""
    with collecting() as slow:
        slow.open.clear()
        settings = {"UGC_TRACE_ENDPOINT": slow.endpoint}
        with front(Deployment(tmp_path, kafka, topic, NO_DATABASE, settings)) as deployment:
            url, body = f"{deployment.gateway_url}/api/v1/produce", json_format.MessageToJson(numbered(1)).encode()
            assert {post(url, body, {"traceparent": CLIENT})[0] for _ in range(50)} == {201}
