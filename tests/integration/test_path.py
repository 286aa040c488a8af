"""The whole path on real servers: gateway or gRPC, ingest, Kafka, etl, ClickHouse."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from google.protobuf import json_format
from ugc.v1.event_pb2 import Event, EventBatch

from db.clickhouse.client import ClickHouse
from local.processes.program import running
from local.up.example import DOCUMENTED_EVENT
from tests.support.inputs.events import numbered
from tests.support.processes.system import Deployment, await_equal, everything, ingest_stub, post, send_until_accepted

BATCH = 1_000
MANY = 100_000


@pytest.fixture
def deployment(tmp_path: Path, kafka: str, topic: str, database: str) -> Deployment:
    """Return the deployment of a test."""
    return Deployment(tmp_path, kafka, topic, database)


@pytest.fixture
def system(deployment: Deployment) -> Iterator[Deployment]:
    """Run ingest, gateway and etl."""
    with everything(deployment):
        yield deployment


def count(tables: ClickHouse) -> tuple[int, int]:
    """Return the number of rows and the number of different events."""
    ((rows, events),) = tables.rows("SELECT count(), uniqExact(event_id) FROM events")
    return rows, events


def stored(tables: ClickHouse) -> dict[str, tuple[Any, ...]]:
    """Return the fields by which numbered events differ, by event_id."""
    return {
        str(row[0]): row[1:]
        for row in tables.rows(
            "SELECT event_id, toString(movie_id), toString(user_id), event_data, client_data FROM events"
        )
    }


def sent(events: list[Event]) -> dict[str, tuple[Any, ...]]:
    """Return the same fields of events that were sent."""
    return {
        event.event_id: (
            event.payload.movie_id,
            event.payload.user_id,
            event.payload.event_data,
            event.some_client_data,
        )
        for event in events
    }


def test_documented_event(system: Deployment, tables: ClickHouse) -> None:
    """The documented JSON, byte for byte, is answered with 201 and becomes a row with every field."""
    status, answer = post(f"{system.gateway_url}/api/v1/produce", DOCUMENTED_EVENT.encode())

    assert status == 201
    await_equal(lambda: count(tables), (1, 1))
    (row,) = tables.records("SELECT * FROM events")
    received_at = row.pop("received_at")
    assert abs((datetime.now(UTC) - received_at).total_seconds()) < 300
    assert row.pop("kafka_partition") in range(3)
    assert isinstance(row.pop("kafka_topic_id"), uuid.UUID)
    movie = uuid.UUID("1ec4cd73-2fd5-4f25-af68-b6595d279af2")
    assert row == {
        "event_id": uuid.UUID(answer["eventId"]),
        "event": "some_event",
        "movie_id": movie,
        "user_id": movie,
        "event_data": "some_event_data",
        "event_time": datetime.fromtimestamp(1621932759, UTC),
        "language": "RU",
        "timezone": "Europe/Moscow",
        "ip": "192.168.1.1",
        "version": "1.0",
        "client_data": "some_client_data",
        "kafka_offset": 0,
    }


def test_thousand_by_rest(system: Deployment, tables: ClickHouse) -> None:
    """An array of 1,000 events posted to the gateway arrives complete and unchanged."""
    events = [numbered(number) for number in range(BATCH)]
    body = json.dumps([json_format.MessageToDict(event, preserving_proto_field_name=True) for event in events])
    status, answer = post(f"{system.gateway_url}/api/v1/batch_produce", body.encode())

    assert (status, answer) == (201, {"accepted": BATCH, "rejected": []})
    await_equal(lambda: count(tables), (BATCH, BATCH))
    assert stored(tables) == sent(events)


def test_thousand_by_grpc(system: Deployment, tables: ClickHouse) -> None:
    """A batch of 1,000 events by gRPC arrives complete and unchanged, the events of each user in order."""
    events = [numbered(number) for number in range(BATCH)]
    with ingest_stub(system.ingest_address) as stub:
        answer = stub.BatchProduce(EventBatch(events=events), timeout=30)

    assert (answer.accepted, list(answer.rejected)) == (BATCH, [])
    await_equal(lambda: count(tables), (BATCH, BATCH))
    assert stored(tables) == sent(events)
    in_order = "SELECT user_id, toUInt32(client_data) AS n FROM events ORDER BY kafka_offset"
    for (numbers,) in tables.rows(f"SELECT groupArray(n) FROM ({in_order}) GROUP BY user_id"):
        assert numbers == sorted(numbers)


def test_batch_in_part_by_rest(system: Deployment, tables: ClickHouse) -> None:
    """A batch with one invalid event is answered with 207 and an error at its index; the valid events are rows."""
    bodies = [json.loads(DOCUMENTED_EVENT) for _ in range(3)]
    bodies[1]["payload"]["movie_id"] = "x"
    status, answer = post(f"{system.gateway_url}/api/v1/batch_produce", json.dumps(bodies).encode())

    assert (status, answer["accepted"]) == (207, 2)
    (rejected,) = answer["rejected"]
    assert (rejected["index"], rejected["error"]["code"]) == (1, 3)
    assert rejected["error"]["details"][0]["fieldViolations"][0]["field"] == "payload.movie_id"
    await_equal(lambda: count(tables), (2, 2))


def test_undecodable_messages(deployment: Deployment, tables: ClickHouse) -> None:
    """Undecodable messages of other programs are rows of rejected_events, and events beside them are rows of events."""
    failures: list[object] = []
    producer = Producer({"bootstrap.servers": deployment.kafka})
    for value in (b"garbage", None, b"\x0a\x00"):
        producer.produce(
            deployment.topic, value, partition=1, on_delivery=lambda error, _: failures.append(error) if error else None
        )
    assert (producer.flush(30), failures) == (0, [])
    with everything(deployment), ingest_stub(deployment.ingest_address) as stub:
        send_until_accepted(stub, [numbered(number) for number in range(100)])
        await_equal(lambda: count(tables), (100, 100))
        await_equal(lambda: tables.rows("SELECT count() FROM rejected_events"), [(3,)])

    assert tables.rows("SELECT reason, raw, kafka_offset FROM rejected_events ORDER BY kafka_offset") == [
        ("undecodable", "garbage", 0),
        ("undecodable", "", 1),
        ("undecodable", "\n\x00", 2),
    ]
    assert {(missing, repeated) for *_, missing, repeated in tables.rows("SELECT * FROM conservation")} == {(0, 0)}


def test_hundred_thousand(system: Deployment, tables: ClickHouse) -> None:
    """100,000 events through BatchProduce are 100,000 rows, each event once, no offset missing."""
    with ingest_stub(system.ingest_address) as stub:
        for start in range(0, MANY, BATCH):
            answer = stub.BatchProduce(EventBatch(events=[numbered(start + n) for n in range(BATCH)]), timeout=30)
            assert answer.accepted == BATCH
    await_equal(lambda: count(tables), (MANY, MANY))

    assert tables.rows("SELECT uniqExact(client_data) FROM events") == [(MANY,)]
    assert {(missing, repeated) for *_, missing, repeated in tables.rows("SELECT * FROM conservation")} == {(0, 0)}


def test_sigterm_in_the_middle(deployment: Deployment, tables: ClickHouse) -> None:
    """When ingest and etl are stopped by SIGTERM and restarted under load, no acknowledged event is lost."""
    acknowledged: set[str] = set()
    third, two_thirds, done = threading.Event(), threading.Event(), threading.Event()

    def client() -> None:
        with ingest_stub(deployment.ingest_address) as stub:
            for start in range(0, MANY, BATCH):
                events = [numbered(start + n) for n in range(BATCH)]
                send_until_accepted(stub, events)
                acknowledged.update(event.event_id for event in events)
                for mark, flag in ((MANY // 3, third), (2 * MANY // 3, two_thirds)):
                    if start + BATCH >= mark:
                        flag.set()
        done.set()

    sender = threading.Thread(target=client)
    with running(deployment.etl()):
        with running(deployment.ingest()):
            sender.start()
            assert third.wait(90)
        with running(deployment.ingest()):
            assert two_thirds.wait(90)
    with running(deployment.ingest()), running(deployment.etl()):
        assert done.wait(90)
        sender.join()
        await_equal(lambda: tables.rows("SELECT uniqExact(event_id) FROM events"), [(MANY,)])

    found = {str(identity) for (identity,) in tables.rows("SELECT DISTINCT event_id FROM events")}
    assert len(acknowledged) == MANY
    assert acknowledged == found
    assert {missing for *_, missing, _ in tables.rows("SELECT * FROM conservation")} == {0}
