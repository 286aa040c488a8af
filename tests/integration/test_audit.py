"""`ugc-audit` on real servers: no breach where the conservation law holds, and each kind of breach is found."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import uuid
from pathlib import Path

import pytest

from db.audit import audit
from db.clickhouse.client import ClickHouse
from db.conservation import BreachKind, Repeats
from local.processes.ports import free_port
from local.processes.program import running
from tests.support.inputs.events import numbered, record
from tests.support.processes.consumed import USER, Consumed
from tests.support.processes.system import AWAIT_SECONDS_MAX, Deployment

COUNT = 70_000  # more than one bucket of the audit
PLAN = '{"v":1,"topic":"x","end":%d,"rows":1,"hash":"","deadline":1}'


@pytest.fixture
def consumed(kafka: str, topic: str, database: str, tables: ClickHouse) -> Consumed:
    """Return a topic whose partition 0 is completely consumed: events, and one rejected message in the middle."""
    made = Consumed(kafka, topic, database, tables)
    made.produce(0, [b"x"] * COUNT)
    made.store(0, 0, 1_000)
    made.reject(0, 1_000)
    made.store(0, 1_001, COUNT - 1_001)
    made.commit(0, COUNT)
    return made


def found(consumed: Consumed) -> list[tuple[BreachKind, int, tuple[str, ...]]]:
    """Audit and return the breaches of partition 0."""
    report = audit(consumed.settings)
    assert {breach.partition for breach in report.breaches} <= {0}
    return [(breach.kind, breach.count, breach.examples) for breach in report.breaches]


def test_clean(consumed: Consumed) -> None:
    """If every consumed offset is one row, no breach is reported, also not for partitions without a message."""
    report = audit(consumed.settings)

    assert report.breaches == ()
    assert report.topic_id == consumed.topic_id
    assert [(each.number, each.events, each.rejected, each.lag) for each in report.partitions] == [
        (0, COUNT - 1, 1, 0),
        (1, 0, 0, 0),
        (2, 0, 0, 0),
    ]


def test_deleted_row(consumed: Consumed) -> None:
    """A deleted row is reported as missing, with its offset."""
    consumed.delete(0, 500)

    assert found(consumed) == [(BreachKind.MISSING, 1, ("offset 500",))]


@pytest.mark.parametrize("first", [0, COUNT - 3])
def test_missing_ends(consumed: Consumed, first: int) -> None:
    """Rows deleted at the beginning or the end are missing too, because Kafka has the range that was consumed."""
    for offset in range(first, first + 3):
        consumed.delete(0, offset)

    assert found(consumed) == [(BreachKind.MISSING, 3, (f"offsets {first} to {first + 2}",))]


def test_skipped_offsets(consumed: Consumed) -> None:
    """A range that was never stored, longer than a bucket, is one gap, even if rows after it are stored."""
    consumed.produce(0, [b"x"] * 2 * COUNT)
    consumed.store(0, 3 * COUNT - 10, 10)
    consumed.commit(0, 3 * COUNT)

    assert found(consumed) == [(BreachKind.MISSING, 2 * COUNT - 10, (f"offsets {COUNT} to {3 * COUNT - 11}",))]


def test_doubled_row(consumed: Consumed) -> None:
    """A row that is stored twice in one table is found, and its event is not reported as repeated as well."""
    consumed.store(0, 68_000, 1)

    assert found(consumed) == [(BreachKind.TWICE, 1, ("offset 68000 (2 of events, 0 of rejected_events)",))]


def test_offset_in_both_tables(consumed: Consumed) -> None:
    """A message that is in both tables is stored twice."""
    consumed.reject(0, 7)

    assert found(consumed) == [(BreachKind.TWICE, 1, ("offset 7 (1 of events, 1 of rejected_events)",))]


def test_repeated_event(consumed: Consumed) -> None:
    """An event stored twice within the window is a breach; farther apart, or in another partition, it is counted."""
    consumed.produce(0, [b"x"] * 2)
    consumed.store(0, COUNT, 1, identity=COUNT - 100)
    consumed.store(0, COUNT + 1, 1, identity=17)
    consumed.commit(0, COUNT + 2)
    consumed.produce(1, [b"x"])
    consumed.store(1, 0, 1, identity=18)
    consumed.commit(1, 1)
    ((kind, count, (example,)),) = found(consumed)
    first, second, _ = audit(consumed.settings).partitions

    assert (kind, count) == (BreachKind.REPEATED, 1)
    assert f"of user {USER} at offsets {COUNT - 100}, {COUNT}" in example
    assert (first.repeats.near, first.repeats.far) == (1, 1)
    assert first.repeats.elsewhere + second.repeats.elsewhere == 1


def test_another_users_event(consumed: Consumed) -> None:
    """An event_id that several users have used is a different event for each user, at any distance."""
    others = [uuid.UUID(int=number) for number in range(3)]
    consumed.produce(0, [b"x"] * 3)
    for number, user in enumerate(others):
        consumed.store(0, COUNT + number, 1, identity=17 if number else COUNT - 5, user=user)
    consumed.commit(0, COUNT + 3)
    consumed.produce(1, [b"x"])
    consumed.store(1, 0, 1, identity=18, user=others[0])
    consumed.commit(1, 1)
    report = audit(consumed.settings)

    assert report.breaches == ()
    assert [each.repeats for each in report.partitions] == [Repeats()] * 3


def test_rows_beyond_the_committed_offset(consumed: Consumed) -> None:
    """Rows after the committed offset are a breach unless a plan covers them."""
    consumed.produce(0, [b"x"] * 20)
    consumed.store(0, COUNT, 5)
    assert found(consumed) == [(BreachKind.BEYOND, 5, (f"offsets {COUNT} to {COUNT + 4}",))]

    consumed.commit(0, COUNT, PLAN % (COUNT + 9))
    report = audit(consumed.settings)
    assert report.breaches == ()
    assert (report.partitions[0].in_flight, report.lag) == (5, 20)

    consumed.store(0, COUNT + 15, 1)
    assert found(consumed) == [(BreachKind.BEYOND, 1, (f"offset {COUNT + 15}",))]


def test_many_breaches(consumed: Consumed) -> None:
    """All missing offsets are counted, and the first ten are shown."""
    consumed.tables.rows(
        "DELETE FROM events WHERE kafka_offset % 2 = 0 AND kafka_offset < 200 SETTINGS lightweight_deletes_sync = 2"
    )
    ((kind, count, examples),) = found(consumed)

    assert (kind, count) == (BreachKind.MISSING, 100)
    assert examples == tuple(f"offset {2 * number}" for number in range(10))


def test_earlier_topic(consumed: Consumed) -> None:
    """Rows of an earlier topic with the same offsets are not counted as stored twice; they are checked separately."""
    consumed.tables.rows("INSERT INTO events SELECT * REPLACE (generateUUIDv4() AS kafka_topic_id) FROM events LIMIT 1")
    earlier = audit(consumed.settings).partitions[-1]

    assert earlier.claim is None
    assert (earlier.events, earlier.missing, earlier.breaches) == (1, 0, ())


def test_wait(consumed: Consumed) -> None:
    """The audit waits for the group, and a message that is not consumed when the time is up is a breach."""
    consumed.produce(0, [b"x"])
    report = audit(consumed.settings, wait_seconds_max=0.3)
    assert [(breach.kind, breach.count) for breach in report.breaches] == [(BreachKind.BEHIND, 1)]

    def consume() -> None:
        consumed.reject(0, COUNT)
        consumed.commit(0, COUNT + 1)

    group = threading.Timer(0.5, consume)
    group.start()
    report = audit(consumed.settings, wait_seconds_max=60)
    group.join()
    assert (report.breaches, report.lag) == ((), 0)


def ugc_audit(consumed: Consumed, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run `ugc-audit`."""
    environment = {f"UGC_{name.upper()}": str(value) for name, value in consumed.settings if value is not None}
    return subprocess.run(
        [sys.executable, "-m", "db.audit", *arguments],
        env={**os.environ, **environment, **settings},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_program(consumed: Consumed) -> None:
    """The exit status shows a breach, a bad setting, and a store that does not answer, which the error names."""
    clean = ugc_audit(consumed)
    assert (clean.returncode, clean.stderr) == (0, "")
    assert "clean: every consumed message is one row" in clean.stdout

    consumed.delete(0, 3)
    broken = ugc_audit(consumed)
    assert broken.returncode == 1
    assert "partition 0: 1 missing: offset 3" in broken.stdout
    (breach,) = json.loads(ugc_audit(consumed, "--json").stdout)["breaches"]
    assert (breach["kind"], breach["examples"]) == ("missing", ["offset 3"])

    bad = ugc_audit(consumed, UGC_ETL_DUPLICATE_WINDOW="0")
    assert (bad.returncode, "UGC_ETL_DUPLICATE_WINDOW" in bad.stderr) == (2, True)

    away = f"127.0.0.1:{free_port()}"
    for setting, value, message in (
        ("UGC_KAFKA_BOOTSTRAP_SERVERS", away, f"Kafka at {away} (UGC_KAFKA_BOOTSTRAP_SERVERS) does not answer: "),
        (
            "UGC_CLICKHOUSE_URL",
            f"clickhouse://a:secret@{away}/b",
            f"ClickHouse at {away} (UGC_CLICKHOUSE_URL) does not ",
        ),
        ("UGC_KAFKA_TOPIC", "nowhere", f"Kafka at {consumed.kafka} has no topic nowhere: "),
    ):
        failed = ugc_audit(consumed, **{setting: value})
        assert (failed.returncode, failed.stderr.count("\n")) == (3, 1)
        assert failed.stderr.startswith(f"ugc-audit: {message}")
        assert "secret" not in failed.stderr


@pytest.mark.parametrize("rows", [100, 50_000])
def test_real_etl(tmp_path: Path, kafka: str, topic: str, database: str, tables: ClickHouse, rows: int) -> None:
    """While the real etl loads, and afterwards, there is no breach, with any batch size and undecodable messages."""
    made = Consumed(kafka, topic, database, tables)
    settings = {"UGC_ETL_GROUP": made.group, "UGC_ETL_FLUSH_ROWS": str(rows)}
    with running(Deployment(tmp_path, kafka, topic, database, settings).etl()):
        for partition in (0, 1, 2):
            made.produce(partition, [record(numbered(1), uuid.uuid4().bytes) for _ in range(3_000)] + [b"garbage"])
            assert audit(made.settings).breaches == ()
        report = audit(made.settings, wait_seconds_max=AWAIT_SECONDS_MAX)

    assert report.breaches == ()
    assert [(each.events, each.rejected, each.lag) for each in report.partitions] == [(3_000, 1, 0)] * 3
