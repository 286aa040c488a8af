"""`ugc-replay` on real servers: its selection, and that each message is sent at most once, also by concurrent runs."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import uuid
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from confluent_kafka import Consumer, TopicPartition

from common.partition_change import PartitionChange
from db.clickhouse.client import ClickHouse
from db.clickhouse.replayed import Position, Rejected, ReplayLedger, Selection
from db.errors import StoreError
from db.kafka.replayer import Replayer
from db.replay import Outcome, key_of, replay
from db.settings import ReplaySettings
from local.processes.ports import free_port
from tests.conftest import PARTITIONS
from tests.support.inputs.events import numbered, record

HOUR = 3_600_000
START = 1_700_000_000_000
EVER = 2 * START
READ_SECONDS_MAX = 30


@pytest.fixture
def settings(kafka: str, topic: str, database: str) -> ReplaySettings:
    """Return the settings with the test's topic and database."""
    return ReplaySettings(kafka_bootstrap_servers=kafka, kafka_topic=topic, clickhouse_url=database)


def reject(tables: ClickHouse, raws: list[bytes], reason: str = "refused", hour: int = 0) -> None:
    """Store rejected messages of a new topic."""
    topic_id, time = uuid.uuid4(), datetime.fromtimestamp(START / 1000, UTC) + timedelta(hours=hour)
    tables.insert(
        "INSERT INTO rejected_events (reason, error, raw, kafka_time, kafka_topic_id, kafka_partition, kafka_offset)"
        " VALUES",
        [(reason, "", raw, time, topic_id, 1, offset) for offset, raw in enumerate(raws)],
    )


def on_topic(settings: ReplaySettings) -> Counter[tuple[bytes | None, bytes | None]]:
    """Read the whole topic and return how often it has each key and value."""
    consumer = Consumer({"bootstrap.servers": settings.kafka_bootstrap_servers, "group.id": "readers"})
    found = Counter[tuple[bytes | None, bytes | None]]()
    try:
        for partition in range(PARTITIONS):
            start = TopicPartition(settings.kafka_topic, partition, 0)
            _, high = consumer.get_watermark_offsets(start, timeout=READ_SECONDS_MAX)
            consumer.assign([start])
            left = high
            while left:
                messages = consumer.consume(left, READ_SECONDS_MAX)
                assert messages, f"{left} messages of partition {partition} were not read"
                found.update((message.key(), message.value()) for message in messages)
                left -= len(messages)
    finally:
        consumer.close()
    return found


def test_at_most_once(settings: ReplaySettings, tables: ClickHouse) -> None:
    """A selected message is sent unchanged, with its user as key, and once even if the run is repeated."""
    event = numbered(5)
    good, garbage = record(event), b"\xff garbage \x00"
    reject(tables, [good, garbage, b""])
    first, second = (replay(settings, Selection("refused", 0, EVER)) for _ in range(2))

    assert (first.chosen, first.sent, first.replayed) == (3, 3, 0)
    assert (second.chosen, second.sent, second.replayed) == (3, 0, 3)
    assert on_topic(settings) == {(event.payload.user_id.encode(), good): 1, (None, garbage): 1, (None, b""): 1}


def test_record_of_added_partitions(settings: ReplaySettings, tables: ClickHouse) -> None:
    """The record of added partitions, which an earlier etl has stored as undecodable, is not sent again."""
    reject(tables, [PartitionChange(str(uuid.uuid4()), 3, (1, 2, 3)).value(), b"garbage"], "undecodable")

    assert replay(settings, Selection("undecodable", 0, EVER)).sent == 1
    assert on_topic(settings) == {(None, b"garbage"): 1}


def test_key() -> None:
    """The key is the user in lower case, as ingest sets it; a message without a readable user has no key."""
    user, position = uuid.UUID(int=0xAB), Position(uuid.uuid4(), 0, 0)
    valid = record(numbered(1, user))
    poison = valid + b"\xa3\x06" * 101 + b"\xa4\x06" * 101

    assert key_of(Rejected(position, valid, None)) == str(user).encode()
    assert key_of(Rejected(position, poison, user)) == str(user).encode()
    assert [key_of(Rejected(position, raw, None)) for raw in (poison, b"\x08", b"")] == [None] * 3


def test_selection(settings: ReplaySettings, tables: ClickHouse) -> None:
    """Only messages of the reason and the time are selected, `until` not included; a dry run sends nothing."""
    for hour in range(4):
        reject(tables, [b"refused %d" % hour], hour=hour)
    reject(tables, [b"undecodable"], "undecodable", hour=1)
    selection = Selection("refused", START + HOUR, START + 3 * HOUR)
    dry = replay(settings, selection, dry_run=True)

    assert (dry.chosen, dry.sent) == (2, 2)
    assert on_topic(settings) == {}
    assert replay(settings, selection).sent == 2
    assert on_topic(settings) == {(None, b"refused 1"): 1, (None, b"refused 2"): 1}


def test_batches_and_limit(settings: ReplaySettings, tables: ClickHouse) -> None:
    """More than one batch is sent completely; after a run with a limit the next run continues."""
    raws = [b"%d" % number for number in range(1_300)]
    reject(tables, raws)
    sent = [replay(settings, Selection("refused", 0, EVER), limit).sent for limit in (550, 550, 550)]

    assert sent == [550, 550, 200]
    assert on_topic(settings) == {(None, raw): 1 for raw in raws}


def test_a_row_stored_twice(settings: ReplaySettings, tables: ClickHouse) -> None:
    """A rejected message with two rows is sent once."""
    reject(tables, [b"once"])
    tables.rows("INSERT INTO rejected_events SELECT * FROM rejected_events")

    assert replay(settings, Selection("refused", 0, EVER)).sent == 1
    assert on_topic(settings) == {(None, b"once"): 1}


@pytest.mark.parametrize("order", ["claim claim read read", "claim read claim read", "claim claim read withdraw read"])
def test_interleavings(tables: ClickHouse, order: str) -> None:
    """In any order of the steps of two concurrent runs, at most one of them may send."""
    reject(tables, [b"wanted"])
    ledger = ReplayLedger(tables, cluster=False)
    ((position, _, _),) = ledger.page(Selection("refused", 0, EVER), None, 10)
    runs = [uuid.uuid4(), uuid.uuid4()]
    may_send, turn = [], Counter[str]()
    for step in order.split():
        run = runs[turn[step]]
        turn[step] += 1
        if step == "claim":
            ledger.claim(run, [position])
        elif step == "withdraw":
            ledger.withdraw(run, [position])
        else:
            may_send.append(not ledger.contested(run, [position]))

    assert (
        may_send
        == {
            "claim claim read read": [False, False],
            "claim read claim read": [True, False],
            "claim claim read withdraw read": [False, True],
        }[order]
    )


def test_concurrent_runs(settings: ReplaySettings, tables: ClickHouse) -> None:
    """Of concurrent runs at most one sends a message; the next run sends the messages that none of them sent."""
    raws = [b"%d" % number for number in range(3_000)]
    reject(tables, raws)
    selection, outcomes = Selection("refused", 0, EVER), list[Outcome]()
    gate = threading.Barrier(3)

    def run() -> None:
        gate.wait()
        outcomes.append(replay(settings, selection))

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    outcomes.append(replay(settings, selection))

    assert sum(outcome.sent for outcome in outcomes) == len(raws)
    assert on_topic(settings) == {(None, raw): 1 for raw in raws}
    assert replay(settings, selection).sent == 0


def test_a_run_that_dies(settings: ReplaySettings, tables: ClickHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """The batch of a run that dies between claiming and sending is not sent; the next run sends the rest once."""
    reject(tables, [b"%d" % number for number in range(10)])

    def die(_self: Replayer, _messages: object) -> dict[int, str]:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Replayer, "send", die)
        with pytest.raises(KeyboardInterrupt):
            replay(settings, Selection("refused", 0, EVER), limit=4)
    assert replay(settings, Selection("refused", 0, EVER)).sent == 6
    assert on_topic(settings) == {(None, b"%d" % number): 1 for number in range(4, 10)}


def test_kafka_down(settings: ReplaySettings, tables: ClickHouse) -> None:
    """While Kafka does not answer, nothing is claimed."""
    reject(tables, [b"wanted"])
    down = settings.model_copy(update={"kafka_bootstrap_servers": f"127.0.0.1:{free_port()}"})
    with pytest.raises(StoreError):
        replay(down, Selection("refused", 0, EVER))

    assert tables.rows("SELECT count() FROM replayed_events") == [(0,)]


def test_program(settings: ReplaySettings, tables: ClickHouse) -> None:
    """`ugc-replay` prints its counts; a bad argument and a store that does not answer have their own exit statuses."""
    reject(tables, [b"first"], "undecodable")
    reject(tables, [b"second"], "undecodable", hour=1)

    def run(*arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
        environment = {f"UGC_{name.upper()}": str(value) for name, value in settings if value is not None}
        command = [sys.executable, "-m", "db.replay", *arguments]
        environment = {**os.environ, **environment, **changes}
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)

    until = datetime.fromtimestamp(START / 1000 + 1, UTC).isoformat()
    done = run("--reason", "undecodable", "--until", until)
    assert (done.returncode, done.stderr) == (0, "")
    covered, counts = done.stdout.splitlines()
    assert covered == (
        f"covers messages from 1900-01-01T00:00:00+00:00 until before {until}; "
        "outside of that: 1 (earlier: 0, later: 1)"
    )
    assert counts == "chosen 1, sent 1, skipped 0 (replayed before: 0, claimed by another run: 0), failed 0"
    assert "chosen 2, would send 1, skipped 1" in run("--reason", "undecodable", "--dry-run").stdout
    assert run("--reason", "whim").returncode == 2
    away = f"127.0.0.1:{free_port()}"
    failed = run("--reason", "refused", UGC_CLICKHOUSE_URL=f"clickhouse://default@{away}/ugc")
    assert failed.returncode == 3
    assert failed.stderr.startswith(f"ugc-replay: ClickHouse at {away} (UGC_CLICKHOUSE_URL) does not answer: ")
    assert failed.stderr.count("\n") == 1
