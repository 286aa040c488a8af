"""A record of added partitions in the log: the batch ends with it, and the partition is restored behind it."""

from __future__ import annotations

import pytest

from common.partition_change import PartitionChange
from etl.delivery import Delivery
from etl.events.duplicates import FormerOffset
from etl.events.rows import DUPLICATE, PARTITIONS_ADDED, UNDECODABLE, reject_rows
from etl.events.rows import decode as decode_records
from etl.loader import Loader
from etl.metrics import EtlMetrics
from etl.partition import FlushLimits, LoaderLimits
from etl.plan import Coordinates, Position, ServerClock, Topic, read_position
from etl.prepared import prepared
from etl.progress import Progress
from etl.refusals import Refusals
from etl.restoring import PartitionRestorer
from tests.simulation.log import SimulatedMessage, decode
from tests.support.fakes.delivering import AT
from tests.support.fakes.loading import World
from tests.support.fakes.sinks import Unchanged

CHANGE = PartitionChange(AT.topic.identity, 1, (0,))
RECORD = 3


def message(offset: int) -> SimulatedMessage:
    if offset == RECORD:
        return SimulatedMessage(0, offset, None, 0, change=CHANGE)
    return SimulatedMessage(0, offset, b"%032d" % offset, 0)


class Changing(Unchanged, World):
    """A partition with a record of added partitions at offset 3."""

    def __init__(self) -> None:
        super().__init__(1)
        self.waiting[0] = [message(offset) for offset in range(6)]
        self.commits: list[tuple[int, str]] = []
        self.changes_read: list[tuple[int, int]] = []

    def topic(self) -> Topic:
        return AT.topic

    def position(self, at: Coordinates) -> Position:
        offset, metadata = self.commits[-1] if self.commits else (None, "")
        return read_position(at.topic.identity, offset, metadata)

    def limits(self, partition: int) -> tuple[int, int]:
        return 0, len(self.waiting[partition])

    def commit(self, partition: int, offset: int, metadata: str) -> None:
        assert partition == 0
        self.commits.append((offset, metadata))

    def last_stored(self, at: Coordinates, first: int) -> int | None:
        found = [offset for number, _, offset in self.stored if number == at.partition and offset >= first]
        return max(found, default=None)

    def partition_changes(self, at: Coordinates, first: int, last: int) -> list[tuple[int, bytes]]:
        assert at.partition == 0
        self.changes_read.append((first, last))
        return []


def plans(world: Changing) -> list[tuple[int, int | None]]:
    """Return the offsets and the ends of the plans that were committed."""
    positions = [read_position(AT.topic.identity, *commit) for commit in world.commits]
    return [(each.offset or 0, each.plan.end if each.plan else None) for each in positions]


def loader_of(world: Changing, progress: Progress) -> Loader:
    clock = ServerClock(5.0, world.monotonic)
    restorer = PartitionRestorer(world, world, clock, 100, monotonic=world.monotonic)
    limits = LoaderLimits(FlushLimits(0.0, 1_000, 1_000_000), 1_000, 0.2, 5.0)
    delivery = Delivery(world, world, clock, Refusals(1.0, 1_000), decode=decode, metrics=progress.metrics)
    return Loader(world, restorer, delivery, limits, world.monotonic, progress=progress)


def test_the_window_is_restored_behind_the_record() -> None:
    """The batch ends with the record, its end is committed, and what follows has a window that was read behind it."""
    world, progress = Changing(), Progress(EtlMetrics())
    loader = loader_of(world, progress)
    loader.on_assigned([0])
    for _ in range(20):
        loader.step(0.1)

    assert plans(world) == [(0, RECORD), (RECORD + 1, None), (RECORD + 1, 5), (6, None)]
    assert world.changes_read == [(-100, -1), (RECORD + 1 - 100, RECORD)]
    assert sorted(offset for _, _, offset in world.stored) == [0, 1, 2, 3, 4, 5]
    assert progress.metrics.rows["rejected_events", PARTITIONS_ADDED].value == 1
    assert progress.partitions[0].failures == 0


def test_a_plan_is_recovered_as_a_whole() -> None:
    """A plan that an earlier version made across a record is not cut: its messages are compared with it."""
    messages = [message(offset) for offset in range(6)]
    found = prepared(messages, decode(messages), is_planned=True)

    assert (len(found.messages), found.has_change) == (6, True)
    assert len(prepared(messages, decode(messages)).messages) == RECORD + 1


def test_no_record() -> None:
    """Without a record the batch is what it was."""
    messages = [message(offset) for offset in range(RECORD)]
    found = prepared(messages, decode(messages))

    assert (found.messages, found.has_change) == (messages, False)


@pytest.mark.parametrize(("value", "reason"), [(CHANGE.value(), PARTITIONS_ADDED), (b"\x00garbage", UNDECODABLE)])
def test_the_record_is_recognized(value: bytes, reason: str) -> None:
    """The etl's decoder rejects the record with a reason of its own, and the reader of the row finds its bytes."""

    class Record(SimulatedMessage):
        def value(self) -> bytes:
            return value

    (found,) = decode_records([Record(0, 7, None, 0)]).rejected

    assert (found.reason, found.raw, found.offset) == (reason, value, 7)


def test_a_copy_in_a_former_partition_is_named() -> None:
    """The row of a duplicate names the partition and the offset of the copy, not its place in this partition."""
    messages = [message(offset) for offset in (8, 9)]
    (found,) = reject_rows(decode(messages), messages, {1: FormerOffset(-4, 2, 77)}, {}).rejected

    assert (found.offset, found.reason, found.error) == (9, DUPLICATE, "repeats offset 77 of partition 2")


def test_revoked_behind_the_record() -> None:
    """A partition that is revoked when its batch with the record has ended is committed behind it."""
    world = Changing()
    loader = loader_of(world, Progress(EtlMetrics()))
    loader.on_assigned([0])
    while RECORD not in {offset for _, _, offset in world.stored}:
        loader.step(0.1)
    loader.on_revoked([0])

    assert plans(world)[-1] == (RECORD + 1, None)
