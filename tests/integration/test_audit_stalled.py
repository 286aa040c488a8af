"""`ugc-audit` reports a partition that is not consumed, or cannot be."""

from __future__ import annotations

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from db.audit import audit
from db.clickhouse.client import ClickHouse
from db.conservation import BreachKind
from tests.integration.test_audit import ugc_audit
from tests.support.processes.consumed import Consumed

LIMIT_SECONDS = 60.0  # of UGC_AUDIT_LAG_SECONDS_MAX


@pytest.fixture
def consumed(kafka: str, topic: str, database: str, tables: ClickHouse) -> Consumed:
    """Return a topic with 10 consumed messages in partition 0."""
    made = Consumed(kafka, topic, database, tables)
    made.produce(0, [b"x"] * 10, seconds_ago=10 * LIMIT_SECONDS)
    made.store(0, 0, 10)
    made.commit(0, 10)
    return made


def stalled(consumed: Consumed) -> list[tuple[int, int]]:
    """Return the stalled partitions with the number of their waiting messages."""
    report = audit(consumed.settings)
    assert {breach.kind for breach in report.breaches} <= {BreachKind.STALLED}
    return [(breach.partition, breach.count) for breach in report.breaches]


def test_old_and_new_messages(consumed: Consumed) -> None:
    """A lag is a breach when its first message is older than the limit, even if newer messages follow."""
    assert stalled(consumed) == []

    consumed.produce(0, [b"x"] * 3)
    assert stalled(consumed) == []

    consumed.produce(1, [b"x"], seconds_ago=2 * LIMIT_SECONDS)
    consumed.produce(1, [b"x"])
    assert stalled(consumed) == [(1, 2)]


def test_a_partition_without_a_commit(consumed: Consumed) -> None:
    """A partition of which nothing was ever consumed is stalled too, and each stalled partition is reported."""
    consumed.produce(0, [b"x"] * 4, seconds_ago=2 * LIMIT_SECONDS)
    consumed.produce(2, [b"x"] * 5, seconds_ago=2 * LIMIT_SECONDS)

    assert stalled(consumed) == [(0, 4), (2, 5)]


def test_deleted_messages(consumed: Consumed) -> None:
    """Messages that Kafka deleted before they were consumed are a breach at once; the etl has halted the partition."""
    consumed.produce(0, [b"x"] * 5)
    admin = AdminClient({"bootstrap.servers": consumed.settings.kafka_bootstrap_servers})
    for future in admin.delete_records([TopicPartition(consumed.settings.kafka_topic, 0, 13)]).values():
        future.result(LIMIT_SECONDS)
    (breach,) = audit(consumed.settings).breaches

    assert (breach.kind, breach.partition, breach.count) == (BreachKind.LOST, 0, 3)
    assert breach.examples == ("offset 10 is the next to consume, the log begins at 13",)


def test_a_log_that_ends_before_what_was_committed(consumed: Consumed) -> None:
    """A log that is shorter than what was consumed is a breach, also when every offset before is stored."""
    consumed.store(0, 10, 4)
    consumed.commit(0, 14)
    (breach,) = audit(consumed.settings).breaches

    assert (breach.kind, breach.partition, breach.count) == (BreachKind.SHORTER, 0, 4)
    assert breach.examples == ("offset 14 is committed, the log ends at 10",)


def test_program(consumed: Consumed) -> None:
    """The exit status is 1; the output names partition, offset, age and setting; a larger limit accepts the lag."""
    consumed.produce(0, [b"x"] * 4, seconds_ago=2 * LIMIT_SECONDS)
    done = ugc_audit(consumed)

    assert done.returncode == 1
    assert "offset 10 was written 12" in done.stdout
    assert "UGC_AUDIT_LAG_SECONDS_MAX" in done.stdout
    assert done.stdout.count("BREACH") == 2

    tolerant = ugc_audit(consumed, UGC_AUDIT_LAG_SECONDS_MAX="3600")
    assert (tolerant.returncode, "clean" in tolerant.stdout) == (0, True)
