"""The oracle finds lost, duplicate and unknown events, in given numbers and on real servers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.faults.oracle import Recreation, judge
from tests.support.faults.run import faulty
from tests.support.load.ledger import Ledger, LedgerWriter, read_ledger
from tests.support.processes.server_stack import ServerStack

LEDGER = Ledger(sent={"a": 1.0, "b": 2.0, "c": 3.0}, acknowledged={"a": 1.5, "b": 2.5})


def test_clean() -> None:
    """Acknowledged events must be stored; one that was only sent may be stored or not."""
    assert judge(LEDGER, {"a": 1, "b": 1}).clean
    assert judge(LEDGER, {"a": 1, "b": 1, "c": 1}).clean


def test_found() -> None:
    """A lost event, a duplicate, one that no client has sent, and a breach that the audit reports are all found."""
    assert judge(LEDGER, {"a": 1}).lost == ["b"]
    assert judge(LEDGER, {"a": 2, "b": 1}).doubled == ["a"]
    assert judge(LEDGER, {"a": 1, "b": 1, "x": 1}).strangers == ["x"]
    assert not judge(LEDGER, {"a": 1, "b": 1}, ["partition 0: 1 missing"]).clean


def test_recreated_topic() -> None:
    """A recreation excuses the loss of events sent before its end, and a duplicate of events sent across it."""
    recreation = Recreation(began=2.2, ended=2.7)
    verdict = judge(LEDGER, {"b": 2}, recreation=recreation)
    assert (verdict.lost, verdict.doubled, verdict.excused) == ([], [], 2)

    assert judge(LEDGER, {"a": 2, "b": 1}, recreation=recreation).doubled == ["a"]
    assert judge(LEDGER, {"a": 1, "b": 3}, recreation=recreation).doubled == ["b"]
    assert judge(LEDGER, {"b": 1}, recreation=Recreation(began=0.2, ended=0.7)).lost == ["a"]


def test_ledger(tmp_path: Path) -> None:
    """The ledger has the first time of each event; a line that a kill truncated is ignored."""
    path = tmp_path / "ledger"
    writer = LedgerWriter(path)
    writer.sent(["a", "b"])
    writer.acknowledged(["a"])
    writer.acknowledged(["a"])
    writer.close()
    with path.open("ab") as file:
        file.write(json.dumps({"at": 9.0, "acknowledged": ["b"]}).encode()[:-4])

    ledger = read_ledger(path)
    assert (list(ledger.sent), list(ledger.acknowledged)) == (["a", "b"], ["a"])


@pytest.fixture
def deleting() -> str:
    """Return the query that deletes a row synchronously."""
    return "DELETE FROM events WHERE (kafka_partition, kafka_offset) = %(offset)s SETTINGS lightweight_deletes_sync = 2"


def test_nothing_broken(stack: ServerStack, tmp_path: Path, deleting: str) -> None:
    """A run without a fault is clean; a deleted row is found lost, and a row that is inserted twice is found."""
    with faulty(stack, tmp_path, "none", seed=0) as run:
        run.etl()
        run.load(events=1_000)
        run.await_loaded()
        run.leave(run.members[0])
        assert run.verdict().clean

        tables = run.tables
        ((partition, offset),) = tables.rows("SELECT kafka_partition, kafka_offset FROM events LIMIT 1")

        key = {"offset": (partition, offset)}
        tables.rows("CREATE TABLE saved AS events")
        back = "INSERT INTO events SELECT * FROM saved SETTINGS insert_deduplicate = 0"
        tables.rows("INSERT INTO saved SELECT * FROM events WHERE (kafka_partition, kafka_offset) = %(offset)s", key)
        tables.rows(deleting, key)
        deleted = run.verdict()
        tables.rows(back)
        assert run.verdict().clean
        tables.rows(back)
        doubled = run.verdict()
        tables.rows(deleting, key)
        tables.rows(back)

    assert (len(deleted.lost), len(deleted.doubled), len(deleted.breaches)) == (1, 0, 1)
    assert (len(doubled.lost), len(doubled.doubled)) == (0, 1)
    assert doubled.breaches
