"""Liveness and readiness of the etl."""

from __future__ import annotations

import json
import threading
from concurrent.futures import Future
from typing import cast

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from etl.alive import Heartbeat
from etl.health import Health
from etl.kafka.ends import KafkaLogEnds
from etl.kafka.membership import Membership
from etl.partition import Partition
from etl.progress import Progress


def statistics(state: str) -> str:
    return json.dumps({"cgrp": {"state": state}})


def test_live() -> None:
    """The process is alive while its loop makes progress, whatever Kafka and ClickHouse do."""
    now = 100.0
    heartbeat = Heartbeat("", monotonic=lambda: now)
    health = Health(heartbeat, 60.0, Membership(), Progress(), threading.Event())

    now = 160.0
    assert health.live() == ""
    now = 161.0
    assert health.live() == "the loop has made no progress for 61 s"
    heartbeat.beat()
    assert health.live() == ""


def test_ready() -> None:
    """The process is ready once it has joined the group and its partitions are restored, until it stops."""
    membership, progress, stop = Membership(), Progress(), threading.Event()
    health = Health(Heartbeat(""), 60.0, membership, progress, stop)

    assert "has not joined" in health.ready()
    membership.statistics(statistics("up"))
    assert health.ready() == ""
    progress.partitions = {0: Partition(0)}
    assert health.ready() == "partition 0 is not restored yet"
    progress.partitions = {0: Partition(0, was_restored=True)}
    assert health.ready() == ""
    progress.halted = lambda number: "is halted: a reason" if number == 0 else ""
    progress.partitions = {0: Partition(0, was_restored=True), 1: Partition(1, was_restored=True)}
    assert (health.ready(), health.notes()) == ("", "partition 0 is halted: a reason")
    stop.set()
    assert health.ready() == "stopping"


def test_membership() -> None:
    """A member is one while the client has the coordinator, from its first assignment on, and not after a loss."""
    membership = Membership()
    found = [membership.is_joined]
    membership.assigned()
    found.append(membership.is_joined)
    membership.statistics(statistics("query-coord"))
    found.append(membership.is_joined)
    membership.statistics(statistics("up"))
    membership.lost()
    found.append(membership.is_joined)

    assert found == [False, True, False, False]
    assert "in state lost" in membership.problem()


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"cgrp": 1}'])
def test_statistics_that_cannot_be_read(text: str) -> None:
    """Statistics of another form change nothing and raise nothing, because they are reported inside a poll."""
    membership = Membership()
    membership.assigned()
    membership.statistics(text)

    assert membership.is_joined


class Answers:
    """The answer to the question where a log ends."""

    def __init__(self, offset: int) -> None:
        self.offset = offset


class Admin:
    """Answers for the log ends of some partitions, and refuses those of others."""

    def __init__(self) -> None:
        self.ends: dict[int, int] = {}

    def list_offsets(
        self, wanted: dict[TopicPartition, object], *, request_timeout: float
    ) -> dict[TopicPartition, Future[Answers]]:
        assert request_timeout == 5.0
        answers: dict[TopicPartition, Future[Answers]] = {}
        for at in wanted:
            answers[at] = Future()
            if at.partition in self.ends:
                answers[at].set_result(Answers(self.ends[at.partition]))
            else:
                answers[at].set_exception(KafkaException(KafkaError(KafkaError.LEADER_NOT_AVAILABLE)))
        return answers


def test_log_ends() -> None:
    """Ends of partitions that are no longer owned are forgotten; an end that Kafka does not report stays."""
    admin = Admin()
    ends = KafkaLogEnds(cast("AdminClient", admin), "topic", 5.0)
    admin.ends = {0: 10, 1: 20}
    ends.ask([0, 1])
    first = ends.of(0), ends.of(1)
    admin.ends = {2: 30}
    ends.ask([1, 2])

    assert [end and end.offset for end in first] == [10, 20]
    assert (ends.of(0), ends.of(1)) == (None, first[1])
    found = ends.of(2)
    assert found is not None
    assert found.offset == 30
    ends.ask([])
    assert ends.of(2) is None
