"""The loader when partitions are assigned, revoked, lost, or fail: it commits only what it owns, and restores state."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any, cast

import pytest

from etl.errors import SinkError, SourceError
from etl.events.rows import Message, Rows
from etl.inserting import Inline, Inserts
from etl.loader import Loader
from etl.partition import FlushLimits, LoaderLimits, Partition
from etl.plan import Coordinates, Plan, Topic
from etl.prepared import Prepared
from tests.support.inputs.events import numbered, record
from tests.support.inputs.messages import FakeMessage

TOPIC = Topic("ugc.events", "0d6be9f0-7c1f-4f5e-9f0f-3d2a6c1b8e55", "cluster")
FIRST = 100


class Everything:
    """A fake of source, restorer and delivery that records the calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.messages: list[Message] = []
        self.in_flight = False
        self.error: Exception | None = None
        self.inherited: Plan | None = None
        self.inserts = Inserts(lambda _block: None, Inline)

    def poll(self, _count: int, _seconds: float) -> Sequence[Message]:
        found, self.messages = self.messages, []
        return found

    def resume(self, partition: int, offset: int) -> None:
        self.calls.append(("resume", (partition, offset)))

    def pause(self, partition: int) -> None:
        self.calls.append(("pause", partition))

    def lag(self, partition: int, offset: int) -> int:
        del partition, offset
        return 0

    def forget_topic(self) -> None:
        self.calls.append(("forget topic", None))

    def restore(self, partition: Partition) -> Iterator[None]:
        self.calls.append(("restore", partition.number))
        partition.at = Coordinates(TOPIC, partition.number)
        partition.inherited = self.inherited
        partition.seek(FIRST)
        return iter(())

    def prepare(self, messages: Sequence[Message], *, is_planned: bool = False) -> Prepared:
        del is_planned
        return Prepared(messages, Rows(), "")

    def deliver(self, partition: Partition, prepared: Prepared) -> Iterator[None]:
        self.note("deliver", partition, prepared.messages)
        partition.acknowledged_through = prepared.messages[-1].offset() + 1
        return iter(())

    def recover(self, partition: Partition, prepared: Prepared) -> Iterator[None]:
        self.note("recover", partition, prepared.messages)
        partition.inherited = None
        return iter(())

    def no_insert_in_flight(self, _partition: Partition) -> bool:
        return not self.in_flight

    def commit_acknowledged(self, partition: Partition) -> None:
        self.calls.append(("commit", partition.number))

    def note(self, what: str, partition: Partition, messages: Sequence[Message]) -> None:
        self.calls.append((what, (partition.number, [message.offset() for message in messages])))
        if self.error:
            raise self.error

    def of(self, what: str) -> list[Any]:
        """Return the arguments of the calls of one kind."""
        return [values for name, values in self.calls if name == what]


@pytest.fixture
def world() -> Everything:
    return Everything()


@pytest.fixture
def loader(world: Everything) -> Loader:
    """Return a loader that stores each batch at once, and waits a minute after a failure."""
    limits = LoaderLimits(FlushLimits(0.0, 1_000, 1_000_000), 1_000, 60.0, 60.0)
    anything = cast("Any", world)
    return Loader(anything, anything, anything, limits, lambda: 0.0)


def feed(world: Everything, loader: Loader, *offsets: int, partition: int = 0) -> None:
    """Deliver messages to the loader."""
    world.messages = [FakeMessage(record(numbered(at)), at=at, of_partition=partition) for at in offsets]
    loader.step(0.0)


def test_assigned(world: Everything, loader: Loader) -> None:
    """Assigned partitions are restored, each once, after the topic is read again; then their messages are stored."""
    loader.on_assigned([0, 1])
    loader.step(0.0)
    loader.step(0.0)
    feed(world, loader, 100, 101)
    loader.on_assigned([2])

    assert world.of("restore") == [0, 1]
    assert world.of("resume") == [(0, FIRST), (1, FIRST)]
    assert world.of("deliver") == [(0, [100, 101])]
    assert len(world.of("forget topic")) == 2


@pytest.mark.parametrize("how", ["on_revoked", "on_lost"])
def test_given_up(world: Everything, loader: Loader, how: str) -> None:
    """Nothing of a partition is stored or committed after it is gone; a lost one is not committed at all."""
    loader.on_assigned([0, 1])
    loader.step(0.0)
    feed(world, loader, 100)
    world.calls.clear()
    getattr(loader, how)([0])

    assert world.of("commit") == ([0] if how == "on_revoked" else [])
    world.calls.clear()
    feed(world, loader, 101)
    loader.commit_acknowledged(loader._partitions.values())
    assert world.of("deliver") == []
    assert world.of("commit") == [1]


@pytest.mark.parametrize("error", [SinkError("no answer"), SourceError("no answer")])
def test_failed(world: Everything, loader: Loader, error: Exception) -> None:
    """After a failure the state of a partition is discarded, and is restored after the wait, not before."""
    loader.on_assigned([0])
    loader.step(0.0)
    world.error = error
    feed(world, loader, 100, 101)
    (partition,) = loader._partitions.values()

    assert (partition.is_restored, partition.pending, partition.acknowledged_through) == (False, [], None)
    assert world.of("pause") == [0]
    assert partition.wait_until == 60.0
    feed(world, loader, 102)
    assert world.of("restore") == [0]
    assert world.of("deliver") == [(0, [100, 101])]


def test_a_gap(world: Everything, loader: Loader) -> None:
    """If messages seem to be missing, the partition starts over, and nothing after the gap is stored."""
    loader.on_assigned([0])
    loader.step(0.0)
    feed(world, loader, 100, 102)

    assert world.of("deliver") == []
    assert world.of("pause") == [0]


def test_inherited(world: Everything, loader: Loader) -> None:
    """A former owner's plan is recovered, exactly its messages, when no insert of it is in flight any more."""
    world.inherited, world.in_flight = Plan(TOPIC.identity, 100, 101, 2, "", 0), True
    loader.on_assigned([0])
    loader.step(0.0)
    feed(world, loader, 100, 101, 102)

    assert (world.of("recover"), world.of("deliver")) == ([], [])
    (partition,) = loader._partitions.values()
    partition.wait_until, world.in_flight = 0.0, False
    loader.step(0.0)
    assert world.of("recover") == [(0, [100, 101])]
    assert world.of("deliver") == [(0, [102])]


def test_stop(world: Everything, loader: Loader) -> None:
    """A stop stores what is buffered, and commits it."""
    stop = threading.Event()
    loader.on_assigned([0])
    loader.step(0.0)
    partition = loader._partitions[0]
    partition.buffer([FakeMessage(record(numbered(1)), at=100)], now=0.0)
    stop.set()
    loader.run(stop)

    assert world.of("deliver") == [(0, [100])]
    assert world.of("commit") == [0]


def test_an_outage_goes_with_its_partitions(world: Everything, loader: Loader) -> None:
    """When failing partitions move to another member, the outage ends here, and no reminder is logged."""
    loader.on_assigned([0, 1, 2])
    loader.step(0.0)
    world.error = SinkError("no answer")
    feed(world, loader, 100)
    feed(world, loader, 100, partition=1)

    loader.on_lost([0])
    assert loader._failures.outage.seen == 2
    loader.on_revoked([1])
    assert loader._failures.outage.seen == 0
