"""The loader's promise on fakes that fail as told: nothing is committed before it is stored, nothing is skipped."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from etl.buffer import Buffer, FlushLimits
from etl.errors import SinkError, SourceError
from etl.loader import AtLeastOnce, Loader
from etl.message import Message
from etl.rows import Rows
from tests.support.events import numbered, record
from tests.support.messages import FakeMessage

LIMITS = FlushLimits(seconds=1.0, rows=3, bytes=1_000_000)


@dataclass
class FakeSource:
    """Gives out batches of messages one poll at a time, then sets the stop flag."""

    polls: list[list[Message]]
    stop: threading.Event
    owned: set[int] = field(default_factory=lambda: {0, 1})
    committed: list[tuple[int, int]] = field(default_factory=list)
    idled: list[float] = field(default_factory=list)
    lost_while_idle: set[int] = field(default_factory=set)
    commit_failures: int = 0

    def poll(self, count: int, seconds: float) -> Sequence[Message]:  # noqa: ARG002
        if not self.polls:
            self.stop.set()
            return []
        return self.polls.pop(0)

    def idle(self, seconds: float) -> None:
        self.idled.append(seconds)
        self.owned -= self.lost_while_idle

    def commit(self, partition: int, offset: int) -> None:
        if self.commit_failures:
            self.commit_failures -= 1
            raise SourceError("told to fail")
        self.committed.append((partition, offset))


@dataclass
class FakeSink:
    """Keeps offsets by partition; fails as often as told."""

    failures: int = 0
    stored: list[tuple[int, int]] = field(default_factory=list)

    def insert(self, partition: int, rows: Rows) -> None:
        if self.failures:
            self.failures -= 1
            raise SinkError("told to fail")
        self.stored += [(partition, offset) for offset in rows.columns[-1]]


def messages(partition: int, *offsets: int) -> list[Message]:
    return [FakeMessage(record(numbered(offset)), at=offset, of_partition=partition) for offset in offsets]


def load(source: FakeSource, sink: FakeSink) -> None:
    delivery = AtLeastOnce(source, sink, source.stop, (0.2, 5.0))
    Loader(source, Buffer(LIMITS), delivery, poll_rows=100).run(source.stop)


def test_everything_is_stored_and_committed() -> None:
    """What was taken is stored and committed, also what was still waiting when the stop came."""
    source = FakeSource([messages(0, 0, 1, 2) + messages(1, 7), messages(0, 3)], threading.Event())
    sink = FakeSink()
    load(source, sink)

    assert sorted(sink.stored) == [(0, 0), (0, 1), (0, 2), (0, 3), (1, 7)]
    assert sorted(source.committed) == [(0, 3), (0, 4), (1, 8)]


def test_retries_until_stored() -> None:
    """While ClickHouse fails nothing is committed; the waits grow up to their limit; then it goes on."""
    source = FakeSource([messages(0, 0, 1, 2)], threading.Event())
    sink = FakeSink(failures=8)
    load(source, sink)

    assert sink.stored == [(0, 0), (0, 1), (0, 2)]
    assert source.committed == [(0, 3)]
    assert source.idled == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0]


def test_a_partition_that_goes_is_given_up() -> None:
    """A batch whose partition left while it waited is neither stored nor committed here."""
    source = FakeSource([messages(0, 0, 1, 2)], threading.Event(), lost_while_idle={0})
    sink = FakeSink(failures=1)
    load(source, sink)

    assert (sink.stored, source.committed) == ([], [])


def test_a_failed_commit_is_made_up_for() -> None:
    """When a commit fails, the next one of the partition covers it, and loading goes on."""
    source = FakeSource([messages(0, 0, 1, 2), messages(0, 3, 4, 5)], threading.Event(), commit_failures=1)
    sink = FakeSink()
    load(source, sink)

    assert sink.stored == [(0, offset) for offset in range(6)]
    assert source.committed == [(0, 6)]


def test_stop_during_an_outage() -> None:
    """A stop ends the waiting; what was not stored is not committed."""
    source = FakeSource([messages(0, 0, 1, 2)], threading.Event())
    source.stop.set()
    source.polls, waiting = [], source.polls
    delivery = AtLeastOnce(source, FakeSink(failures=100), source.stop, (0.2, 5.0))

    assert delivery.deliver(0, waiting[0]) is False
    assert source.committed == []
