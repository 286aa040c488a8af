"""Lag, complete-through time and state of partitions, and whether one is stuck."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from etl.metrics import EtlMetrics
from etl.partition import Partition
from etl.plan import Plan
from etl.progress import STUCK_FAILURES, LogEnd, Progress
from tests.simulation.log import SimulatedMessage
from tests.support.fakes.delivering import AT

NUMBER = AT.partition
LATENESS = 6.0
PLAN = Plan(AT.topic.identity, 100, 109, 10, "", 0)


class World:
    """A partition, the end of its log, and the time of day."""

    def __init__(self) -> None:
        self.end: LogEnd | None = None
        self.now = 1_000.0
        self.partition = Partition(NUMBER, AT, is_restored=True, was_restored=True, stored_before=100, next_offset=100)
        self.metrics = EtlMetrics()
        self.progress = Progress(self.metrics, self, LATENESS, lambda: self.now)
        self.progress.partitions = {NUMBER: self.partition}

    def of(self, partition: int) -> LogEnd | None:
        assert partition == NUMBER
        return self.end

    def receive(self, *seconds: float) -> None:
        """Buffer messages that ingest received at these times."""
        start = self.partition.next_offset
        messages = [SimulatedMessage(NUMBER, start + at, b"", round(time * 1_000)) for at, time in enumerate(seconds)]
        assert self.partition.buffer(messages, 0.0)

    def deliver(self, count: int) -> None:
        self.partition.begin(self.partition.pending[:count], 1)
        self.progress.stored(self.partition)
        self.partition.drop_delivered(0.0)

    def through(self) -> float | None:
        """Return the complete-through time, later."""
        self.now += 1
        self.progress.advance()
        return self.sample("ugc_etl_complete_through_timestamp_seconds")

    def sample(self, name: str) -> float | None:
        (family,) = [each for each in self.metrics.collect() if each.name == name]
        return next((each.value for each in family.samples), None)


def test_caught_up() -> None:
    """If everything up to the log's end is stored, all that was received before Kafka was asked is, but for the way."""
    world = World()
    world.end = LogEnd(100, 990.0)

    assert world.through() == 990.0 - LATENESS
    assert world.sample("ugc_etl_lag_messages") == 0


def test_behind() -> None:
    """While messages wait, the oldest one of them holds the time back, and it never goes back."""
    world = World()
    world.end = LogEnd(103, 990.0)
    world.receive(900.0, 800.0, 950.0)

    assert world.through() == 900.0 - LATENESS
    assert world.sample("ugc_etl_lag_messages") == 3
    world.deliver(1)
    assert world.through() == 900.0 - LATENESS
    world.deliver(1)
    assert world.through() == 950.0 - LATENESS
    assert world.sample("ugc_etl_lag_messages") == 1
    world.deliver(1)
    assert world.through() == 990.0 - LATENESS
    assert world.sample("ugc_etl_lag_messages") == 0


@pytest.mark.parametrize("seconds", [0.0, 5_000.0])
def test_times_of_other_programs(seconds: float) -> None:
    """A message without a time, or with one in the future, leaves the time as it is until it is stored."""
    world = World()
    world.receive(900.0, seconds)
    world.end = LogEnd(102, 950.0)
    before = world.through()
    world.deliver(1)

    assert world.through() == before == 900.0 - LATENESS
    world.deliver(1)
    assert world.through() == 950.0 - LATENESS


def test_unknown() -> None:
    """Nothing is reported of a partition whose commit or log end is not known, or that was given up."""
    world = World()
    assert (world.through(), world.sample("ugc_etl_lag_messages")) == (None, None)
    world.end = LogEnd(100, 990.0)
    world.partition.stored_before = None
    assert (world.through(), world.sample("ugc_etl_lag_messages")) == (None, None)
    world.partition.stored_before = 40
    assert (world.through(), world.sample("ugc_etl_lag_messages")) == (None, 60)
    world.partition.stored_before = 100
    assert (world.through(), world.sample("ugc_etl_lag_messages")) == (984.0, 0)
    world.progress.partitions = {}
    assert (world.through(), world.sample("ugc_etl_lag_messages")) == (None, None)
    assert world.sample("ugc_etl_partition_state") is None


def test_read_since_kafka_was_asked() -> None:
    """The lag includes messages that were read after the end of the log was asked for."""
    world = World()
    world.end = LogEnd(100, 990.0)
    world.receive(991.0, 992.0)

    assert world.sample("ugc_etl_lag_messages") == 2


def test_a_clock_that_is_set_back() -> None:
    """The times advance although the clock of this machine was set back."""
    world = World()
    world.end = LogEnd(100, 990.0)
    before = world.through()
    world.now, world.end = 500.0, LogEnd(100, 995.0)

    assert before == 984.0
    assert world.through() == 989.0


def test_end_to_end() -> None:
    """The time from the receipt of a batch's first message until it is acknowledged is observed, and its size."""
    world = World()
    world.receive(990.0, 999.0, 999.0)
    world.deliver(2)

    found = world.metrics.end_to_end
    assert (found.total, sum(found.counts)) == (10.0, 1)
    assert world.metrics.batch_rows.total == 2
    assert world.metrics.batch_bytes.total == 2 * len(SimulatedMessage(NUMBER, 0, b"", 990_000))


@pytest.mark.parametrize(
    ("halted", "changes", "state"),
    [
        (True, {"failures": 1, "is_restored": False}, "halted"),
        (False, {"failures": 1, "is_restored": False}, "failing"),
        (False, {"is_restored": False}, "restoring"),
        (False, {"inherited": PLAN}, "recovering"),
        (False, {"stored_through": 120}, "recovering"),
        (False, {}, "loading"),
    ],
)
def test_states(changes: dict[str, object], state: str, *, halted: bool) -> None:
    """A partition is in one state."""
    world = World()
    vars(world.partition).update(changes)
    world.progress.halted = lambda _number: "is halted: a reason" if halted else ""

    assert world.progress.state(world.partition) == state
    (family,) = [each for each in world.metrics.collect() if each.name == "ugc_etl_partition_state"]
    assert [each.labels["state"] for each in family.samples if each.value] == [state]
    assert len(family.samples) == 5


@pytest.mark.parametrize(
    ("halted", "changes", "reason"),
    [
        ((), {}, ""),
        ((), {"failures": STUCK_FAILURES - 1}, ""),
        ((), {"failures": STUCK_FAILURES}, "partition 3 has failed 3 times in a row"),
        ((), {"failures": STUCK_FAILURES, "problem": "denied"}, "partition 3 has failed 3 times in a row: denied"),
        ((NUMBER,), {}, "partition 3 is halted: a reason"),
        ((), {"was_restored": False}, "partition 3 is not restored yet"),
        # After a failure it is restored again.
        ((), {"is_restored": False}, ""),
    ],
)
def test_stuck(halted: Sequence[int], changes: dict[str, object], reason: str) -> None:
    """A partition that fails repeatedly, is halted or was never restored is stuck; a process without any is not."""
    world = World()
    vars(world.partition).update(changes)
    world.progress.halted = lambda number: "is halted: a reason" if number in halted else ""

    assert world.progress.stuck() == reason
    world.progress.partitions = {}
    assert world.progress.stuck() == ""


def test_one_halted_partition_of_several() -> None:
    """The process stays ready while it loads other partitions; which ones are halted is listed."""
    world = World()
    world.progress.partitions = {NUMBER: world.partition, 4: Partition(4, was_restored=True, failures=STUCK_FAILURES)}
    world.progress.halted = lambda number: "is halted: a reason" if number == 4 else ""

    assert world.progress.stuck() == ""
    assert world.progress.halted_partitions() == ["partition 4 is halted: a reason"]
    vars(world.partition).update({"was_restored": False})
    assert world.progress.stuck() == "partition 3 is not restored yet"
