"""`ugc-replay` on real servers: what it chooses, that each goes out at most once, and with two runs at once."""

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

from db.clickhouse.client import ClickHouse
from db.clickhouse.replayed import Place, Rejected, ReplayLedger, Selection
from db.errors import StoreError
from db.kafka.replayer import Replayer
from db.replay import Outcome, key_of, replay
from db.settings import ReplaySettings
from local.processes.program import free_port
from tests.conftest import PARTITIONS
from tests.support.inputs.events import numbered, record

HOUR = 3_600_000
START = 1_700_000_000_000
EVER = 2 * START
READ_SECONDS_MAX = 30


@pytest.fixture
def settings(kafka: str, topic: str, database: str) -> ReplaySettings:
    """Return where a test's rejected events are and go."""
    return ReplaySettings(kafka_bootstrap_servers=kafka, kafka_topic=topic, clickhouse_url=database)


def reject(tables: ClickHouse, raws: list[bytes], reason: str = "refused", hour: int = 0) -> None:
    """Store rejected messages of a topic of their own."""
    topic_id, time = uuid.uuid4(), datetime.fromtimestamp(START / 1000, UTC) + timedelta(hours=hour)
    tables.insert(
        "INSERT INTO rejected_events (reason, error, raw, kafka_time, kafka_topic_id, kafka_partition, kafka_offset)"
        " VALUES",
        [(reason, "", raw, time, topic_id, 1, offset) for offset, raw in enumerate(raws)],
    )


def on_topic(settings: ReplaySettings) -> Counter[tuple[bytes | None, bytes | None]]:
    """Read the whole topic: how often each key and value stands there."""
    consumer = Consumer({"bootstrap.servers": settings.kafka_bootstrap_servers, "group.id": "readers"})
    found = Counter[tuple[bytes | None, bytes | None]]()
    try:
        for partition in range(PARTITIONS):
            place = TopicPartition(settings.kafka_topic, partition, 0)
            _, high = consumer.get_watermark_offsets(place, timeout=READ_SECONDS_MAX)
            consumer.assign([place])
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
    """What is chosen stands on the topic as it was, under its user's key, once however often it is replayed."""
    event = numbered(5)
    good, garbage = record(event), b"\xff garbage \x00"
    reject(tables, [good, garbage, b""])
    first, second = (replay(settings, Selection("refused", 0, EVER)) for _ in range(2))

    assert (first.chosen, first.sent, first.replayed) == (3, 3, 0)
    assert (second.chosen, second.sent, second.replayed) == (3, 0, 3)
    assert on_topic(settings) == {(event.payload.user_id.encode(), good): 1, (None, garbage): 1, (None, b""): 1}


def test_key() -> None:
    """The key is the user in lower case, as ingest made it; what cannot be read, or names no user, has none."""
    user, place = uuid.UUID(int=0xAB), Place(uuid.uuid4(), 0, 0)
    valid = record(numbered(1, user))
    poison = valid + b"\xa3\x06" * 101 + b"\xa4\x06" * 101

    assert key_of(Rejected(place, valid, None)) == str(user).encode()
    assert key_of(Rejected(place, poison, user)) == str(user).encode()
    assert [key_of(Rejected(place, raw, None)) for raw in (poison, b"\x08", b"")] == [None] * 3


def test_selection(settings: ReplaySettings, tables: ClickHouse) -> None:
    """Only the reason and the time that are asked for are chosen, `until` not included; a dry run sends nothing."""
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
    """More than a batch goes out complete; with a limit the next run goes on where the last one stopped."""
    raws = [b"%d" % number for number in range(1_300)]
    reject(tables, raws)
    sent = [replay(settings, Selection("refused", 0, EVER), limit).sent for limit in (550, 550, 550)]

    assert sent == [550, 550, 200]
    assert on_topic(settings) == {(None, raw): 1 for raw in raws}


def test_a_row_stored_twice(settings: ReplaySettings, tables: ClickHouse) -> None:
    """A rejected message that has two rows is one message."""
    reject(tables, [b"once"])
    tables.rows("INSERT INTO rejected_events SELECT * FROM rejected_events")

    assert replay(settings, Selection("refused", 0, EVER)).sent == 1
    assert on_topic(settings) == {(None, b"once"): 1}


@pytest.mark.parametrize("order", ["claim claim look look", "claim look claim look", "claim claim look withdraw look"])
def test_interleavings(tables: ClickHouse, order: str) -> None:
    """However the steps of two runs fall together, at most one of them may send."""
    reject(tables, [b"wanted"])
    ledger = ReplayLedger(tables, cluster=False)
    ((place, _, _),) = ledger.page(Selection("refused", 0, EVER), None, 10)
    runs = [uuid.uuid4(), uuid.uuid4()]
    may_send, turn = [], Counter[str]()
    for step in order.split():
        run = runs[turn[step]]
        turn[step] += 1
        if step == "claim":
            ledger.claim(run, [place])
        elif step == "withdraw":
            ledger.withdraw(run, [place])
        else:
            may_send.append(not ledger.contested(run, [place]))

    assert (
        may_send
        == {
            "claim claim look look": [False, False],
            "claim look claim look": [True, False],
            "claim claim look withdraw look": [False, True],
        }[order]
    )


def test_two_at_once(settings: ReplaySettings, tables: ClickHouse) -> None:
    """Runs at the same time never both send a message, and what they left to each other goes out with the next."""
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
    """A run that dies between claim and sending loses its batch to the topic; nothing is sent twice by the next."""
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
    """Without Kafka nothing is claimed."""
    reject(tables, [b"wanted"])
    down = settings.model_copy(update={"kafka_bootstrap_servers": f"127.0.0.1:{free_port()}"})
    with pytest.raises(StoreError):
        replay(down, Selection("refused", 0, EVER))

    assert tables.rows("SELECT count() FROM replayed_events") == [(0,)]


def test_program(settings: ReplaySettings, tables: ClickHouse) -> None:
    """The program says what it did; a bad option and a dead store have their own exit status."""
    reject(tables, [b"first"], "undecodable")
    reject(tables, [b"second"], "undecodable", hour=1)

    def run(*arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
        environment = {f"UGC_{name.upper()}": str(value) for name, value in settings}
        command = [sys.executable, "-m", "db.replay", *arguments]
        environment = {**os.environ, **environment, **changes}
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)

    until = datetime.fromtimestamp(START / 1000 + 1, UTC).isoformat()
    done = run("--reason", "undecodable", "--until", until)
    assert (done.returncode, done.stderr) == (0, "")
    covered, told = done.stdout.splitlines()
    assert covered == (
        f"covers messages from 1900-01-01T00:00:00+00:00 until before {until}; left out, because they are outside of "
        "that: 1 (earlier: 0, later: 1)"
    )
    assert told == "chosen 1, sent 1, skipped 0 (replayed before: 0, another run was at them: 0), failed 0"
    assert "chosen 2, would send 1, skipped 1" in run("--reason", "undecodable", "--dry-run").stdout
    assert run("--reason", "whim").returncode == 2
    for since in ("yesterday", "0001-01-01", "2300-01-01"):
        assert run("--reason", "refused", "--since", since).returncode == 2
    assert run("--reason", "refused", "--limit", "0").returncode == 2
    dead = run("--reason", "refused", UGC_CLICKHOUSE_URL=f"clickhouse://default@127.0.0.1:{free_port()}/ugc")
    assert (dead.returncode, "Traceback" in dead.stderr) == (3, False)
