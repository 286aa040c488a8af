"""Partitions are added to the topic of a running system: what is sent again across the change is stored once."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from confluent_kafka import Producer
from ugc.v1.event_pb2 import Event

from db.add_partitions import Outcome, add_partitions
from db.audit import audit
from db.clickhouse.client import ClickHouse
from db.conservation import BreachKind
from db.kafka.partitions import create_partitions, partition_count
from db.settings import AddPartitionsSettings, AuditSettings
from local.processes.program import running
from tests.conftest import PARTITIONS
from tests.support.inputs.events import numbered
from tests.support.processes.loading import HORIZON, SETTINGS, WAIT_SECONDS_MAX, identified
from tests.support.processes.system import Deployment, await_equal

MORE = 5
EVENTS = 12


@pytest.fixture
def deployment(tmp_path: Path, kafka: str, topic: str, database: str) -> Deployment:
    """Return the deployment of a test."""
    return Deployment(tmp_path, kafka, topic, database, dict(SETTINGS))


@pytest.fixture
def events() -> list[Event]:
    return [numbered(number) for number in range(EVENTS)]


def send(deployment: Deployment, events: Sequence[Event]) -> None:
    """Write events as ingest does, with the partitions that the topic has now."""
    producer = Producer({"bootstrap.servers": deployment.kafka, "partitioner": "murmur2_random"})
    for event in events:
        producer.produce(deployment.topic, identified(event), event.payload.user_id.encode())
    assert producer.flush(WAIT_SECONDS_MAX) == 0


def add(deployment: Deployment, count: int = MORE) -> Outcome:
    settings = AddPartitionsSettings(kafka_bootstrap_servers=deployment.kafka, kafka_topic=deployment.topic)
    return add_partitions(settings, count, 0, is_applied=True)


def rows(tables: ClickHouse) -> dict[str, int]:
    """Return how many rows there are of each kind."""
    return dict(
        tables.rows(
            "SELECT 'event', count() FROM events UNION ALL SELECT reason, count() FROM rejected_events GROUP BY 1"
        )
    )


def audit_settings(deployment: Deployment) -> AuditSettings:
    return AuditSettings(
        kafka_bootstrap_servers=deployment.kafka,
        kafka_topic=deployment.topic,
        clickhouse_url=deployment.database,
        etl_group=deployment.group,
        etl_duplicate_window=HORIZON,
    )


def test_repeats_across_the_change(deployment: Deployment, tables: ClickHouse, events: list[Event]) -> None:
    """While the etl runs, partitions are added and every event is sent again: no event is stored twice."""
    records = {"partitions_added": 2 * MORE}
    with running(deployment.etl()):
        send(deployment, events)
        await_equal(lambda: rows(tables), {"event": EVENTS})
        assert add(deployment) == Outcome(PARTITIONS, MORE, 0)
        send(deployment, events)
        await_equal(lambda: rows(tables), {"event": EVENTS, "duplicate": EVENTS, **records})
        report = audit(audit_settings(deployment), WAIT_SECONDS_MAX)

    assert (report.breaches, report.elsewhere, report.misplaced) == ((), 0, 0)
    ((moved,),) = tables.rows("SELECT countIf(error LIKE '% of partition %') FROM rejected_events")
    assert moved > 0


def test_former_partitions_are_not_read_yet(deployment: Deployment, tables: ClickHouse, events: list[Event]) -> None:
    """Events, their repeats and the change are all in Kafka when two etl processes begin with them."""
    send(deployment, events)
    add(deployment)
    send(deployment, events)
    with running(deployment.etl()), running(deployment.etl()):
        await_equal(lambda: rows(tables), {"event": EVENTS, "duplicate": EVENTS, "partitions_added": 2 * MORE})
        report = audit(audit_settings(deployment), WAIT_SECONDS_MAX)

    assert report.breaches == ()


def test_added_by_other_means(deployment: Deployment, tables: ClickHouse, events: list[Event]) -> None:
    """Partitions that somebody added without the command cost repeats, which the audit counts; recording ends that."""
    with running(deployment.etl()):
        send(deployment, events)
        await_equal(lambda: rows(tables), {"event": EVENTS})
        create_partitions(deployment.kafka, deployment.topic, MORE)
        send(deployment, events)
        await_equal(lambda: sum(rows(tables).values()), 2 * EVENTS)
        report = audit(audit_settings(deployment), WAIT_SECONDS_MAX)
        stored = rows(tables)["event"]

        assert report.breaches == ()
        assert report.elsewhere == stored - EVENTS > 0
        assert report.misplaced == report.elsewhere

        assert add(deployment) == Outcome(MORE, MORE, 0)
        send(deployment, events)
        await_equal(lambda: sum(rows(tables).values()), 3 * EVENTS + 2 * MORE)
        report = audit(audit_settings(deployment), WAIT_SECONDS_MAX)

    assert rows(tables)["event"] == stored
    assert (report.breaches, report.misplaced) == ((), 0)


def test_audit_finds_repeats_across_a_recorded_change(
    deployment: Deployment, tables: ClickHouse, events: list[Event]
) -> None:
    """If an event is stored again behind the record, as by an etl that ignores it, that is a breach."""
    with running(deployment.etl()):
        send(deployment, events)
        add(deployment)
        send(deployment, events)
        await_equal(lambda: rows(tables)["event"], EVENTS)
        audit(audit_settings(deployment), WAIT_SECONDS_MAX)
    tables.rows(
        "INSERT INTO events SELECT e.* REPLACE (r.kafka_partition AS kafka_partition, r.kafka_offset AS kafka_offset)"
        " FROM events AS e INNER JOIN rejected_events AS r ON e.event_id = r.event_id"
        " WHERE r.error LIKE '% of partition %'"
    )
    moved = "SELECT count() FROM rejected_events WHERE error LIKE '% of partition %'"
    ((count,),) = tables.rows(moved)
    tables.rows("DELETE FROM rejected_events WHERE error LIKE '% of partition %' SETTINGS lightweight_deletes_sync = 2")
    report = audit(audit_settings(deployment))

    assert {breach.kind for breach in report.breaches} == {BreachKind.REPEATED}
    assert sum(breach.count for breach in report.breaches) == count > 0


def test_messages_while_producers_settle(deployment: Deployment) -> None:
    """What is written between the two records is counted, because repeats among it may be stored twice."""
    settings = AddPartitionsSettings(kafka_bootstrap_servers=deployment.kafka, kafka_topic=deployment.topic)
    outcome = add_partitions(
        settings, MORE, 1.0, is_applied=True, sleep=lambda _seconds: send(deployment, [numbered(1), numbered(2)])
    )

    assert outcome == Outcome(PARTITIONS, MORE, 2)


def test_command(deployment: Deployment) -> None:
    """Without --apply nothing changes; fewer partitions are refused."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "db.add_partitions", "--settle", "0", *arguments],
            env={"UGC_KAFKA_BOOTSTRAP_SERVERS": deployment.kafka, "UGC_KAFKA_TOPIC": deployment.topic},
            capture_output=True,
            text=True,
            check=False,
        )

    dry, fewer = run("--to", "6"), run("--to", "2", "--apply")
    assert (dry.returncode, fewer.returncode) == (0, 1)
    assert dry.stdout == (
        f"dry run: topic {deployment.topic}: from 3 to 6 partitions, about 50% of the users move to another partition; "
        "do it with --apply\n"
    )
    assert fewer.stderr == (
        f"ugc-add-partitions: topic {deployment.topic} has 3 partitions, and Kafka cannot take partitions away\n"
    )
    assert partition_count(deployment.kafka, deployment.topic) == PARTITIONS
    done = run("--to", "6", "--apply")
    assert done.stdout.endswith(
        "no message was written meanwhile, so no repeat is stored twice\nset UGC_KAFKA_PARTITIONS=6\n"
    )
    assert partition_count(deployment.kafka, deployment.topic) == 6
