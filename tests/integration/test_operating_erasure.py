"""Retention and erasure as docs/operating/retention-and-erasure.md has them, and the audit's report afterwards."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from ugc.v1.event_pb2 import Event

from db.clickhouse.client import ClickHouse, connected
from local.settings import ROOT
from tests.support.documents.pages import commands
from tests.support.inputs.events import numbered, record
from tests.support.processes.operated import TOPIC, Operated, operated
from tests.support.processes.system import await_equal, ingest_stub, send_until_accepted

PAGE = ROOT / "docs" / "operating" / "retention-and-erasure.md"
USER = uuid.UUID("1ec4cd73-2fd5-4f25-af68-b6595d279af2")
ROWS = "SELECT (SELECT count() FROM events) + (SELECT count() FROM rejected_events)"
# In milliseconds: 2023-11-15 and 2023-12-15.
NOVEMBER, DECEMBER = 1_700_000_000_000, 1_702_600_000_000
MISSING = re.compile(r"BREACH topic .*partition (\d+): (\d+) missing")
WAIT_SECONDS_MAX = 60


@pytest.fixture
def system(tmp_path: Path) -> Iterator[Operated]:
    with operated(tmp_path) as started:
        yield started


@pytest.fixture
def tables(system: Operated) -> Iterator[ClickHouse]:
    with connected(system.deployment.database) as connection:
        yield connection


def follow(system: Operated, scenario: str) -> list[str]:
    """Run the steps of a scenario in the order of the page; return what each of them prints."""
    steps = [each.text for each in commands(PAGE) if each.scenario == scenario]
    assert steps
    return [system.shell(step) for step in steps]


def send(system: Operated, events: list[Event]) -> None:
    with ingest_stub(system.deployment.ingest_address) as stub:
        send_until_accepted(stub, events)


def audit(system: Operated) -> dict[int, int]:
    """Return how many offsets the audit reports as missing, by partition, having seen no other breach."""
    report = system.shell(".venv/bin/ugc-audit --wait 60", is_checked=False)
    found = {int(partition): int(count) for partition, count in MISSING.findall(report)}
    assert report.count("BREACH topic") == len(found), report
    return found


def write(system: Operated, months: list[int]) -> None:
    """Write messages to partition 0: an event and an undecodable message of each time, in this order."""
    producer = Producer({"bootstrap.servers": system.deployment.kafka})
    for number, at in enumerate(months):
        event = numbered(number)
        value = record(event, uuid.UUID(event.event_id).bytes, at)
        for each in (value, b"garbage"):
            producer.produce(TOPIC, each, partition=0, timestamp=at)
    assert producer.flush(WAIT_SECONDS_MAX) == 0


def test_an_erased_user_is_gone_and_reported(system: Operated, tables: ClickHouse) -> None:
    """After the documented steps nothing of the user is stored, and the audit misses exactly the deleted rows.

    A restart of the etl does not bring them back; setting the group's offsets back does.
    """
    system.start_etl()
    theirs = [numbered(number, USER) for number in range(200)]
    send(system, [*theirs, *(numbered(number) for number in range(200, 700)), *theirs[:30]])
    await_equal(lambda: tables.rows(ROWS), [(730,)])
    _, counted, _ = follow(system, "erase")

    assert follow(system, "check erasure") == ["0\n"]
    assert tables.rows(ROWS) == [(500,)]
    ((partition, missing),) = audit(system).items()
    assert (counted.splitlines()[1:], missing) == ([f"{partition}\t230"], 230)

    system.stop_etl()
    system.start_etl()
    send(system, [numbered(700)])
    await_equal(lambda: tables.rows(ROWS), [(501,)])
    system.stop_etl()
    system.shell(
        "/opt/kafka/bin/kafka-consumer-groups.sh --bootstrap-server localhost:9092 --group ugc-etl --topic ugc.events"
        " --reset-offsets --to-earliest --execute"
    )
    system.start_etl()
    await_equal(lambda: tables.rows(ROWS), [(731,)])
    assert audit(system) == {}


def test_a_dropped_month(system: Operated, tables: ClickHouse) -> None:
    """Offsets of a dropped month are missing while Kafka has them, and later only those at the seam."""
    write(system, [NOVEMBER] * 10 + [DECEMBER, NOVEMBER] + [DECEMBER] * 8)
    system.start_etl()
    await_equal(lambda: tables.rows(ROWS), [(40,)])
    follow(system, "drop a month")

    assert tables.rows(ROWS) == [(18,)]
    assert audit(system) == {0: 22}
    admin = AdminClient({"bootstrap.servers": system.deployment.kafka})
    for future in admin.delete_records([TopicPartition(TOPIC, 0, 24)]).values():
        future.result(WAIT_SECONDS_MAX)
    assert audit(system) == {0: 2}


def test_a_time_to_live(system: Operated, tables: ClickHouse) -> None:
    """ClickHouse takes the documented TTL, and drops what is older."""
    write(system, [NOVEMBER] * 10)
    system.start_etl()
    await_equal(lambda: tables.rows(ROWS), [(20,)])
    follow(system, "time to live")

    for table in ("events", "rejected_events"):
        tables.rows(f"OPTIMIZE TABLE {table} FINAL")
    await_equal(lambda: tables.rows(ROWS), [(0,)])
