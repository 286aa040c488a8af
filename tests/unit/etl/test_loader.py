"""The loader at a stop, in an outage, and while it restores partitions."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator, Sequence
from typing import cast

import pytest

from etl.delivery import Delivery
from etl.errors import SinkError
from etl.events.rows import Message
from etl.loader import RESTORE_SECONDS_PER_TURN, Loader
from etl.partition import FlushLimits, LoaderLimits, Partition
from etl.plan import Block, Coordinates, ServerClock, Topic
from etl.refusals import Refusals
from etl.restoring import PartitionRestorer
from tests.support.fakes.sinks import ProbingFake
from tests.support.inputs.events import numbered, record
from tests.support.inputs.messages import FakeMessage

TOPIC = Topic("events", str(uuid.UUID(int=1)), "cluster")
PARTITIONS = 5


class SilentSink(ProbingFake):
    """A sink that does not answer inserts."""

    def __init__(self) -> None:
        self.inserts = 0

    def insert(self, _block: Block) -> None:
        self.inserts += 1
        raise SinkError("no answer")

    def recent_identities(self, _at: Coordinates, _first: int, _last: int) -> tuple[Sequence[int], Sequence[bytes]]:
        return (), ()

    def probe(self, _block: Block, *, thorough: bool) -> None:
        raise SinkError(f"no answer, thorough: {thorough}")

    def earliest_now(self, _at: Coordinates, _first: int) -> int:
        return 0

    def is_inserting(self, _at: Coordinates, _first: int) -> bool:
        return False

    def stored_offsets(self, _at: Coordinates, _first: int, _last: int) -> set[int]:
        return set()

    def confirmed_offsets(self, _at: Coordinates, _first: int, _last: int) -> set[int]:
        return set()


class OneMessageSource:
    """A source with one message for each partition."""

    def poll(self, _count: int, _seconds: float) -> list[Message]:
        return [FakeMessage(record(numbered(number)), of_partition=number) for number in range(PARTITIONS)]

    def resume(self, partition: int, offset: int) -> None:
        pass

    def pause(self, partition: int) -> None:
        pass

    def lag(self, partition: int, offset: int) -> int:
        del partition, offset
        return 0

    def commit(self, partition: int, offset: int, metadata: str) -> None:
        pass


class ReadyRestorer:
    """A restorer that is not called."""

    def forget_topic(self) -> None:
        pass


def loading(sink: SilentSink, flush_seconds: float) -> Loader:
    """Return a loader that has buffered a message of each of its partitions."""
    source = OneMessageSource()
    delivery = Delivery(source, sink, ServerClock(5.0, lambda: 0.0), Refusals(0.01, 1_000))
    limits = LoaderLimits(FlushLimits(flush_seconds, 1_000, 1_000_000), 1_000, 60.0, 60.0)
    loader = Loader(source, cast("PartitionRestorer", ReadyRestorer()), delivery, limits, lambda: 0.0)
    loader.on_assigned(range(PARTITIONS))
    for partition in loader._partitions.values():
        partition.at, partition.is_restored = Coordinates(TOPIC, partition.number), True
    loader.step(0.0)
    return loader


def test_a_stop_waits_for_one_timeout() -> None:
    """At a stop, a ClickHouse that does not answer costs one timeout, not one per partition."""
    sink, stop = SilentSink(), threading.Event()
    loader = loading(sink, flush_seconds=60.0)
    stop.set()
    loader.run(stop)

    assert sink.inserts == 1


def test_a_stop_in_an_outage() -> None:
    """If inserts have failed already, the loader stops without another: Kafka still has the messages."""
    sink, stop = SilentSink(), threading.Event()
    loader = loading(sink, flush_seconds=0.0)
    failed = sink.inserts
    stop.set()
    loader.run(stop)

    assert failed == PARTITIONS
    assert sink.inserts == failed


def test_an_outage_of_hours() -> None:
    """The wait of a partition is bounded, however often it has failed."""
    loader = loading(SilentSink(), flush_seconds=60.0)
    (partition, *_) = loader._partitions.values()
    for _ in range(2_000):
        loader._failures.start_over(partition, SinkError("no answer"))

    assert partition.failures == 2_000
    assert partition.wait_until == 60.0


class SlowRestorer:
    """A restorer that restores each partition in three steps of a given length."""

    def __init__(self, step_seconds: float) -> None:
        self.now = 0.0
        self.restored: list[int] = []
        self.fails_at = 0
        self._step_seconds = step_seconds
        self._steps = 0

    def forget_topic(self) -> None:
        pass

    def restore(self, partition: Partition) -> Iterator[None]:
        for _ in range(3):
            self._steps += 1
            self.now += self._step_seconds
            if self._steps == self.fails_at:
                raise SinkError("no answer")
            yield
        self.restored.append(partition.number)


class Polled(OneMessageSource):
    """A source that records its calls, and has no messages."""

    def __init__(self) -> None:
        self.waits: list[float] = []
        self.started: list[int] = []

    def poll(self, _count: int, seconds: float) -> list[Message]:
        self.waits.append(seconds)
        return []

    def resume(self, partition: int, offset: int) -> None:
        del offset
        self.started.append(partition)


def restoring(restorer: SlowRestorer, source: Polled) -> Loader:
    """Return a loader with assigned partitions, none of which is restored."""
    delivery = Delivery(source, SilentSink(), ServerClock(5.0, lambda: restorer.now), Refusals(0.01, 1_000))
    limits = LoaderLimits(FlushLimits(1.0, 1_000, 1_000_000), 1_000, 1.0, 60.0)
    loader = Loader(source, cast("PartitionRestorer", restorer), delivery, limits, lambda: restorer.now)
    loader.on_assigned(range(PARTITIONS))
    return loader


def test_restorations_take_turns() -> None:
    """Kafka is polled without waiting between restoring steps, so that restored partitions load meanwhile."""
    restorer, source = SlowRestorer(0.0), Polled()
    loader = restoring(restorer, source)
    for _ in range(5):
        loader.step(0.1)

    assert source.waits == [0.1, 0.0, 0.0, 0.0, 0.1]
    assert restorer.restored == source.started == list(range(PARTITIONS))


@pytest.mark.parametrize("step_seconds", [0.2, 5.0])
def test_slow_restorations_are_bounded_per_turn(step_seconds: float) -> None:
    """No step begins after RESTORE_SECONDS_PER_TURN of a turn; all partitions are restored in the end."""
    restorer, source = SlowRestorer(step_seconds), Polled()
    loader, turns = restoring(restorer, source), []
    while len(restorer.restored) < PARTITIONS:
        began = restorer.now
        loader.step(0.1)
        turns.append(restorer.now - began)

    assert max(turns) <= RESTORE_SECONDS_PER_TURN + step_seconds
    assert sorted(source.started) == list(range(PARTITIONS))


def test_a_restoration_that_fails_starts_again() -> None:
    """After a failure everything is read again, so a partition is never restored in part."""
    restorer, source = SlowRestorer(0.0), Polled()
    restorer.fails_at = PARTITIONS + 2
    loader = restoring(restorer, source)
    for _ in range(4):
        loader.step(0.1)

    assert restorer.restored == [0, 2, 3, 4]

    restorer.now = 1.0
    for _ in range(3):
        loader.step(0.1)

    assert source.started == [0, 2, 3, 4]

    loader.step(0.1)

    assert source.started == [0, 2, 3, 4, 1]


def test_a_partition_that_is_gone_is_not_restored() -> None:
    """A restoration ends with the assignment, and no step begins after a stop."""
    restorer, source, stop = SlowRestorer(0.0), Polled(), threading.Event()
    loader = restoring(restorer, source)
    loader.step(0.1)
    loader.on_revoked([0, 1])
    loader.on_lost([2])
    loader.step(0.1)
    stop.set()
    loader.run(stop)
    loader.step(0.1)
    loader.step(0.1)

    assert source.started == []
