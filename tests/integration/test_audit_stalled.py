"""`ugc-audit` does not call a partition clean that nobody consumes."""

from __future__ import annotations

import pytest

from db.audit import audit
from db.clickhouse.client import ClickHouse
from db.conservation import Kind
from tests.integration.test_audit import ugc_audit
from tests.support.processes.consumed import Consumed

LIMIT_SECONDS = 60.0  # of UGC_AUDIT_LAG_SECONDS_MAX


@pytest.fixture
def consumed(kafka: str, topic: str, database: str, tables: ClickHouse) -> Consumed:
    """Return a topic of which 10 messages of partition 0 were consumed."""
    made = Consumed(kafka, topic, database, tables)
    made.produce(0, [b"x"] * 10, seconds_ago=10 * LIMIT_SECONDS)
    made.store(0, 0, 10)
    made.commit(0, 10)
    return made


def standing(consumed: Consumed) -> list[tuple[int, int]]:
    """Return the partitions that stand still, with the messages that wait."""
    report = audit(consumed.settings)
    assert {breach.kind for breach in report.breaches} <= {Kind.STANDING}
    return [(breach.partition, breach.count) for breach in report.breaches]


def test_old_and_new_messages(consumed: Consumed) -> None:
    """A lag is a breach when its first message is older than the limit, whatever was written after it."""
    assert standing(consumed) == []

    consumed.produce(0, [b"x"] * 3)
    assert standing(consumed) == []

    consumed.produce(1, [b"x"], seconds_ago=2 * LIMIT_SECONDS)
    consumed.produce(1, [b"x"])
    assert standing(consumed) == [(1, 2)]


def test_a_partition_without_a_commit(consumed: Consumed) -> None:
    """A partition of which nothing was ever consumed stands still too, and each is named."""
    consumed.produce(0, [b"x"] * 4, seconds_ago=2 * LIMIT_SECONDS)
    consumed.produce(2, [b"x"] * 5, seconds_ago=2 * LIMIT_SECONDS)

    assert standing(consumed) == [(0, 4), (2, 5)]


def test_program(consumed: Consumed) -> None:
    """The exit status is that of a breach; the table and the line name partition, offset, age and setting."""
    consumed.produce(0, [b"x"] * 4, seconds_ago=2 * LIMIT_SECONDS)
    done = ugc_audit(consumed)

    assert done.returncode == 1
    assert "offset 10 was written 12" in done.stdout
    assert "UGC_AUDIT_LAG_SECONDS_MAX" in done.stdout
    assert done.stdout.count("BREACH") == 2

    patient = ugc_audit(consumed, UGC_AUDIT_LAG_SECONDS_MAX="3600")
    assert (patient.returncode, "clean" in patient.stdout) == (0, True)
