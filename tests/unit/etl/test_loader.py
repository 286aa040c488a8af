"""How the loader stops, and goes on through an outage."""

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
    """Answers no insert."""

    def __init__(self) -> None:
        self.inserts = 0

    def insert(self, _block: Block) -> None:
        self.inserts += 1
        raise SinkError("no answer")

    def recent_identities(self, _at: Coordinates, _first: int, _last: int) -> tuple[Sequence[int], Sequence[bytes]]:
        return (), ()

    def probe(self, _block: Block, *, thorough: bool) -> None:
        raise SinkError(f"no answer, thorough: {thorough}")

    def now(self) -> int:
        return 0

    def is_inserting(self, _at: Coordinates) -> bool:
        return False

    def stored_offsets(self, _at: Coordinates, _first: int, _last: int) -> set[int]:
        return set()

    def confirmed_offsets(self, _at: Coordinates, _first: int, _last: int) -> set[int]:
        return set()


class OneMessageSource:
    """Has one message for each partition."""

    def poll(self, _count: int, _seconds: float) -> list[Message]:
        return [FakeMessage(record(numbered(number)), of_partition=number) for number in range(PARTITIONS)]

    def resume(self, partition: int, offset: int) -> None:
        pass

    def pause(self, partition: int) -> None:
        pass

    def commit(self, partition: int, offset: int, metadata: str) -> None:
        pass


class ReadyRestorer:
    """Finds nothing stored and nothing planned."""

    def forget_topic(self) -> None:
        pass


def loading(sink: SilentSink, flush_seconds: float) -> Loader:
    """Return a loader that has taken a message of each of its partitions."""
    source = OneMessageSource()
    delivery = Delivery(source, sink, ServerClock(5.0, lambda: 0.0), Refusals(0.01, 1_000))
    limits = LoaderLimits(FlushLimits(flush_seconds, 1_000, 1_000_000), 1_000, 60.0, 60.0)
    loader = Loader(source, cast("PartitionRestorer", ReadyRestorer()), delivery, limits, lambda: 0.0)
    loader.on_assigned(range(PARTITIONS))
    for partition in loader._partitions.values():
        partition.at, partition.is_restored = Coordinates(TOPIC, partition.number), True
    loader.step(0.0)
    return loader


def test_a_stop_waits_once_for_a_clickhouse_that_is_silent() -> None:
    """Told to stop, the loader asks a ClickHouse that does not answer once, not for each partition in turn."""
    sink, stop = SilentSink(), threading.Event()
    loader = loading(sink, flush_seconds=60.0)
    stop.set()
    loader.run(stop)

    assert sink.inserts == 1


def test_a_stop_in_an_outage_asks_no_more() -> None:
    """When inserts have failed already, the loader stops without another: what it took is in Kafka."""
    sink, stop = SilentSink(), threading.Event()
    loader = loading(sink, flush_seconds=0.0)
    failed = sink.inserts
    stop.set()
    loader.run(stop)

    assert failed == PARTITIONS
    assert sink.inserts == failed


def test_an_outage_of_hours() -> None:
    """However often a partition has failed, it waits no longer than it may, and is tried again."""
    loader = loading(SilentSink(), flush_seconds=60.0)
    (partition, *_) = loader._partitions.values()
    for _ in range(2_000):
        loader._start_over(partition, SinkError("no answer"))

    assert partition.failures == 2_000
    assert partition.wait_until == 60.0


class SlowRestorer:
    """Opens each partition in three steps of so many seconds."""

    def __init__(self, step_seconds: float) -> None:
        self.now = 0.0
        self.opened: list[int] = []
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
        self.opened.append(partition.number)


class Polled(OneMessageSource):
    """Notes what it is asked, and has nothing."""

    def __init__(self) -> None:
        self.waits: list[float] = []
        self.started: list[int] = []

    def poll(self, _count: int, seconds: float) -> list[Message]:
        self.waits.append(seconds)
        return []

    def resume(self, partition: int, offset: int) -> None:
        del offset
        self.started.append(partition)


def opening(restorer: SlowRestorer, source: Polled) -> Loader:
    """Return a loader that was assigned partitions and has opened none."""
    delivery = Delivery(source, SilentSink(), ServerClock(5.0, lambda: restorer.now), Refusals(0.01, 1_000))
    limits = LoaderLimits(FlushLimits(1.0, 1_000, 1_000_000), 1_000, 1.0, 60.0)
    loader = Loader(source, cast("PartitionRestorer", restorer), delivery, limits, lambda: restorer.now)
    loader.on_assigned(range(PARTITIONS))
    return loader


def test_openings_take_turns() -> None:
    """Between two steps of opening Kafka is polled without waiting, so that open partitions are loaded meanwhile."""
    restorer, source = SlowRestorer(0.0), Polled()
    loader = opening(restorer, source)
    for _ in range(5):
        loader.step(0.1)

    assert source.waits == [0.1, 0.0, 0.0, 0.0, 0.1]
    assert restorer.opened == source.started == list(range(PARTITIONS))


@pytest.mark.parametrize("step_seconds", [0.2, 5.0])
def test_slow_openings_keep_nobody_waiting(step_seconds: float) -> None:
    """In one turn no more steps are begun than fit; all partitions are open in the end."""
    restorer, source = SlowRestorer(step_seconds), Polled()
    loader, turns = opening(restorer, source), []
    while len(restorer.opened) < PARTITIONS:
        began = restorer.now
        loader.step(0.1)
        turns.append(restorer.now - began)

    assert max(turns) <= RESTORE_SECONDS_PER_TURN + step_seconds
    assert sorted(source.started) == list(range(PARTITIONS))


def test_an_opening_that_fails_begins_again() -> None:
    """What was read before a failure is read again: the partition is not opened with half of it."""
    restorer, source = SlowRestorer(0.0), Polled()
    restorer.fails_at = PARTITIONS + 2
    loader = opening(restorer, source)
    for _ in range(4):
        loader.step(0.1)

    assert restorer.opened == [0, 2, 3, 4]

    restorer.now = 1.0
    for _ in range(3):
        loader.step(0.1)

    assert source.started == [0, 2, 3, 4]

    loader.step(0.1)

    assert source.started == [0, 2, 3, 4, 1]


def test_a_partition_that_leaves_is_not_opened() -> None:
    """An opening ends with the assignment, and a stop begins no step."""
    restorer, source, stop = SlowRestorer(0.0), Polled(), threading.Event()
    loader = opening(restorer, source)
    loader.step(0.1)
    loader.on_revoked([0, 1])
    loader.on_lost([2])
    loader.step(0.1)
    stop.set()
    loader.run(stop)
    loader.step(0.1)
    loader.step(0.1)

    assert source.started == []
