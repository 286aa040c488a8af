"""The output of `ugc-audit`: lines that are never truncated, counts in one unit; and partitions that are added."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions

from db.audit import audit, claims_of
from db.clickhouse.client import ClickHouse
from db.conservation import BreachKind
from db.kafka.topics import OffsetReader, PartitionOffsets
from tests.support.inputs.events import numbered
from tests.support.processes.consumed import Consumed
from tests.support.processes.loading import await_rows
from tests.support.processes.system import Deployment, await_equal, everything, ingest_stub, send_until_accepted

COUNT = 300
FAR = 3_000_000_000_000
RUN_SECONDS_MAX = 120


@pytest.fixture
def consumed(kafka: str, topic: str, database: str, tables: ClickHouse) -> Consumed:
    """Return a topic whose partition 0 was consumed."""
    made = Consumed(kafka, topic, database, tables)
    made.produce(0, [b"x"] * COUNT)
    made.store(0, 0, COUNT)
    made.commit(0, COUNT)
    return made


def add_partitions(kafka: str, topic: str, count: int) -> None:
    """Increase the partitions of a topic."""
    admin = AdminClient({"bootstrap.servers": kafka})
    admin.create_partitions([NewPartitions(topic, count)])[topic].result(RUN_SECONDS_MAX)


def partitions_shown(kafka: str, topic: str) -> int:
    """Return the number of a topic's partitions in the broker's metadata."""
    topics = AdminClient({"bootstrap.servers": kafka}).list_topics(topic, timeout=RUN_SECONDS_MAX).topics
    return len(topics[topic].partitions)


def printed(consumed: Consumed, **settings: str) -> str:
    """Return what `ugc-audit` prints into a pipe."""
    environment = {f"UGC_{name.upper()}": str(value) for name, value in consumed.settings if value is not None}
    done = subprocess.run(
        [sys.executable, "-m", "db.audit"],
        env={**os.environ, **environment, **settings},
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS_MAX,
        check=False,
    )
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize("columns", ["20", "80", "400"])
def test_nothing_is_cut(consumed: Consumed, columns: str) -> None:
    """Each partition is one line with all its numbers, whatever their length and the width of the terminal."""
    consumed.store(1, FAR, 1)
    text = printed(consumed, COLUMNS=columns)
    lines = [line.split() for line in text.splitlines() if line.split()[-1:] in (["clean"], ["BREACH"])]

    assert [line[1] for line in lines] == ["0", "1", "2"]
    assert {len(line) for line in lines} == {18}
    assert f"{FAR:,}" in lines[1]
    assert f"offset {FAR}\n" in text
    assert "…" not in text


@pytest.mark.parametrize("arguments", [(), ("--json",)])
def test_reader_that_has_gone(consumed: Consumed, arguments: tuple[str, ...]) -> None:
    """When the reader of its output has gone, as in `| head`, the exit status is that of SIGPIPE, not of a breach."""
    environment = {f"UGC_{name.upper()}": str(value) for name, value in consumed.settings if value is not None}
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "db.audit", *arguments],
            env={**os.environ, **environment},
            stdout=writing,
            stderr=subprocess.PIPE,
            timeout=RUN_SECONDS_MAX,
            check=False,
        )
    finally:
        os.close(writing)

    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, b"")


@pytest.mark.parametrize(
    ("offsets", "words"),
    [
        ("kafka_offset % 2 = 0", "150 missing: offset 0; offset 2; offset 4;"),
        ("kafka_offset % 4 < 3 AND kafka_offset < 60", "45 missing: offsets 0 to 2; offsets 4 to 6;"),
        ("kafka_offset < 100 OR kafka_offset = 200", "101 missing: offsets 0 to 99; offset 200\n"),
    ],
)
def test_more_missing(consumed: Consumed, offsets: str, words: str) -> None:
    """What is not shown is counted in the unit of the total, although an example may be a range."""
    consumed.tables.rows(f"DELETE FROM events WHERE {offsets} SETTINGS lightweight_deletes_sync = 2")
    (breach,) = audit(consumed.settings).breaches
    text = printed(consumed)

    assert words in text
    rest = breach.count - breach.shown
    assert breach.shown == {150: 10, 45: 30, 101: 101}[breach.count]
    assert (f"; and {rest} more offsets" in text) == (rest > 0)


def test_more_rows_and_events(consumed: Consumed) -> None:
    """Rows stored twice are counted as rows."""
    for _ in range(3):
        consumed.store(0, 0, 20)
    twice = next(each for each in audit(consumed.settings).breaches if each.kind == BreachKind.TWICE)
    assert (twice.count, twice.shown) == (60, 30)
    assert "; and 30 more rows" in str(twice)


def test_more_repeats(consumed: Consumed) -> None:
    """Each repetition of an event is counted."""
    consumed.produce(0, [b"x"] * 30)
    for offset in range(COUNT, COUNT + 30):
        consumed.store(0, offset, 1, identity=COUNT - 1 - (offset - COUNT) % 15)
    consumed.commit(0, COUNT + 30)
    (breach,) = audit(consumed.settings).breaches

    assert (breach.kind, breach.count, breach.shown) == (BreachKind.REPEATED, 30, 20)
    assert str(breach).endswith("; and 10 more events")


def test_partitions_added_meanwhile(consumed: Consumed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Partitions that are added during the audit are in its report, without a breach."""
    read = OffsetReader.read
    readings: list[int] = []

    def adding(reader: OffsetReader) -> list[PartitionOffsets]:
        readings.append(1)
        if len(readings) == 2:
            add_partitions(consumed.kafka, consumed.topic, 5)
            await_equal(lambda: partitions_shown(consumed.kafka, consumed.topic), 5)
        return read(reader)

    monkeypatch.setattr(OffsetReader, "read", adding)
    report = audit(consumed.settings)

    assert len(readings) >= 2
    assert report.breaches == ()
    assert [(each.number, each.lag) for each in report.partitions] == [(number, 0) for number in range(5)]


def test_claims_of_added_and_removed_partitions() -> None:
    """No row is required of a partition that only the second reading has; otherwise the first reading decides."""
    before = [PartitionOffsets(0, 0, 10, 10), PartitionOffsets(1, 0, 5, 5)]
    after = [PartitionOffsets(0, 0, 12, 11), PartitionOffsets(2, 3, 9, 6, '{"end": 7}')]
    limits = [(number, each.floor, each.ceiling) for number, each in claims_of(before, after).items()]

    assert limits == [(0, 10, 10), (1, 5, 4), (2, 3, 7)]


def test_repeats_after_partitions_were_added(
    tmp_path: Path, kafka: str, topic: str, database: str, tables: ClickHouse
) -> None:
    """Events sent again after partitions were added are stored twice if they moved, and the audit counts them."""
    deployment = Deployment(tmp_path, kafka, topic, database)
    events = [numbered(number) for number in range(12)]
    with everything(deployment), ingest_stub(deployment.ingest_address) as stub:
        send_until_accepted(stub, events)
        await_rows(tables, 12)
        add_partitions(kafka, topic, 9)
        # A new producer has the new partitions at once; a running one finds them within minutes.
    with everything(deployment), ingest_stub(deployment.ingest_address) as stub:
        send_until_accepted(stub, events)
        await_rows(tables, 24)
    made = Consumed(kafka, topic, database, tables)
    settings = made.settings.model_copy(update={"etl_group": deployment.group})
    report = audit(settings)
    ((rows,),) = tables.rows("SELECT count() FROM events")

    assert report.breaches == ()
    assert report.elsewhere == rows - 12 > 0
    text = printed(made, UGC_ETL_GROUP=deployment.group)
    assert f"{report.elsewhere} events are stored in more than one partition" in text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted(consumed: Consumed, number: signal.Signals) -> None:
    """A stop signal ends an audit that waits for a group with one line and the status 128 plus its number."""
    consumed.produce(0, [b"x"])
    environment = {f"UGC_{name.upper()}": str(value) for name, value in consumed.settings if value is not None}
    process = subprocess.Popen(
        [sys.executable, "-m", "db.audit", "--wait", "600"],
        env={**os.environ, **environment},
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    await_equal(lambda: handles_signals(process.pid), wanted=True)
    process.send_signal(number)
    output, errors = process.communicate(timeout=RUN_SECONDS_MAX)

    assert (process.returncode, output) == (128 + number, "")
    assert errors == f"ugc-audit: interrupted by {number.name}\n"


def handles_signals(pid: int) -> bool:
    """Return whether a process handles SIGTERM, which it does once its command has begun."""
    status = Path(f"/proc/{pid}/status").read_text()
    caught = int(next(line for line in status.splitlines() if line.startswith("SigCgt")).split()[1], 16)
    return bool(caught >> (signal.SIGTERM - 1) & 1)
