"""A sampled request can be followed to its row: the batch that stores it has a link to it, and ClickHouse joins in."""

from __future__ import annotations

from pathlib import Path

from confluent_kafka import Producer
from google.protobuf import json_format

from common.trace_context import trace_id_of
from db.clickhouse.client import ClickHouse
from local.processes.program import running
from tests.support.inputs.events import numbered, record
from tests.support.processes.collector import Received, await_request, collecting
from tests.support.processes.system import CALL_SECONDS_MAX, Deployment, await_equal, everything, post

CLIENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
UNSAMPLED = f"{CLIENT[:-1]}0"
# The spans of ClickHouse that are children of a span. Its trace ids are UUIDs, its span ids integers.
STORED_SPANS = """
SELECT count() > 0 FROM system.opentelemetry_span_log
WHERE replaceAll(toString(trace_id), '-', '') = %(trace)s AND lower(leftPad(hex(parent_span_id), 16, '0')) = %(parent)s
"""


QUERIES = "SELECT query_id FROM system.query_log WHERE query_kind = 'Insert'"


def spans_of_clickhouse(tables: ClickHouse, insert: Received) -> bool:
    """Return whether ClickHouse has spans of an insert."""
    exists = tables.rows("EXISTS TABLE system.opentelemetry_span_log") == [(1,)]
    return exists and bool(tables.rows(STORED_SPANS, {"trace": insert.trace_id, "parent": insert.id}) == [(1,)])


def test_from_the_request_to_its_row(tmp_path: Path, kafka: str, topic: str, tables: ClickHouse, database: str) -> None:
    """The one sampled request of many is linked from the batch that stored its row, and no other batch has a span."""
    with collecting() as collector:
        settings = {"UGC_TRACE_ENDPOINT": collector.endpoint}
        with everything(Deployment(tmp_path, kafka, topic, database, settings)) as deployment:
            url = f"{deployment.gateway_url}/api/v1/produce"
            for number in range(20):
                headers = {"traceparent": CLIENT} if number == 7 else {"traceparent": UNSAMPLED} if number % 2 else {}
                assert post(url, json_format.MessageToJson(numbered(number)).encode(), headers)[0] == 201
            await_equal(lambda: tables.rows("SELECT count() FROM events"), [(20,)])
            *_, sending = await_request(collector, topic)
            (batch,) = collector.await_spans(f"process {topic}")
            (plan,), (insert,), (close,) = (collector.await_spans(name) for name in ("plan", "insert", "close"))
        ((partition, offset),) = tables.rows("SELECT kafka_partition, kafka_offset FROM events WHERE client_data = '7'")
        (query,) = tables.rows(
            "SELECT count() FROM events WHERE kafka_partition = %(partition)s"
            " AND kafka_offset BETWEEN %(first)s AND %(last)s",
            {
                "partition": partition,
                "first": batch.attributes["messaging.kafka.offset.first"],
                "last": batch.attributes["messaging.kafka.offset.last"],
            },
        )

        # The log exists from its first line on, and lines are written each second.
        await_equal(lambda: spans_of_clickhouse(tables, insert), wanted=True)

    assert batch.links == [(sending.trace_id, sending.id)]
    assert (batch.parent, batch.kind, batch.process) == ("", "consumer", "ugc-etl")
    assert batch.attributes["messaging.destination.partition.id"] == str(partition)
    first, last = (batch.attributes[f"messaging.kafka.offset.{end}"] for end in ("first", "last"))
    assert int(str(first)) <= offset <= int(str(last))
    assert query == (batch.attributes["messaging.batch.message_count"],)
    assert {each.trace_id for each in (plan, insert, close)} == {batch.trace_id} != {sending.trace_id}
    assert [each.parent for each in (plan, insert, close)] == [batch.id] * 3
    assert insert.attributes["db.operation.batch.size"] == batch.attributes["messaging.batch.message_count"]
    assert str(insert.attributes["db.clickhouse.query_id"]).endswith(":1")
    assert not batch.events


def test_messages_of_another_program(tmp_path: Path, kafka: str, topic: str, tables: ClickHouse, database: str) -> None:
    """Every insert of a traced batch has a span with its query, which ClickHouse continues, also of rejected events."""
    producer = Producer({"bootstrap.servers": kafka})
    for number in range(10):
        headers: list[tuple[str, str | bytes | None]] = [("traceparent", CLIENT.encode())] if number == 3 else []
        producer.produce(topic, record(numbered(number), bytes([number]) * 16), partition=0, headers=headers)
    producer.produce(topic, b"no event", partition=0)
    assert producer.flush(CALL_SECONDS_MAX) == 0
    with collecting() as collector:
        settings = {"UGC_TRACE_ENDPOINT": collector.endpoint}
        with running(Deployment(tmp_path, kafka, topic, database, settings).etl()):
            inserts = collector.await_spans("insert", 2)
            (batch,) = collector.await_spans(f"process {topic}")
            await_equal(lambda: [spans_of_clickhouse(tables, each) for each in inserts], [True, True])

    assert batch.links == [(trace_id_of(CLIENT), CLIENT[36:52])]
    assert {each.parent for each in inserts} == {batch.id}
    assert {
        (each.attributes["db.collection.name"], each.attributes["db.operation.batch.size"]) for each in inserts
    } == {
        ("events", 10),
        ("rejected_events", 1),
    }
    assert {name for (name,) in tables.rows(QUERIES)} >= {each.attributes["db.clickhouse.query_id"] for each in inserts}
