"""The state that is restored before a partition loads: its position, its plan, and what may be stored already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from structlog.testing import capture_logs

from etl.errors import LogChangedError
from etl.partition import NOTHING_STORED, Partition
from etl.placement import Placement
from etl.plan import Coordinates, Plan, Position, ServerClock, Topic
from etl.restoring import PartitionRestorer
from tests.support.fakes.sinks import Unchanged

TOPIC = Topic("ugc.events", "0d6be9f0-7c1f-4f5e-9f0f-3d2a6c1b8e55", "cluster")
NOW = 1_790_000_000_000
NOTHING_COMMITTED = Position()
PLAN = Plan(TOPIC.identity, 100, 119, 20, "00c0ffee", NOW + 3_000)


@dataclass
class Stores(Unchanged):
    """A fake of Kafka and ClickHouse."""

    committed: Position = NOTHING_COMMITTED
    low: int = 0
    high: int = 500
    events: dict[int, bytes] = field(default_factory=dict)
    topics_read: int = 0
    pages: list[tuple[int, int]] = field(default_factory=list)
    steps: int = 0
    # The placement with which ClickHouse is asked.
    asked: list[Placement] = field(default_factory=list)

    def topic(self) -> Topic:
        self.topics_read += 1
        return TOPIC

    def position(self, at: Coordinates) -> Position:
        assert at == Coordinates(TOPIC, 3)
        return self.committed

    def limits(self, partition: int) -> tuple[int, int]:
        assert partition == 3
        return self.low, self.high

    def require_servers(self, at: Coordinates) -> None:
        self.asked.append(at.placement)

    def now(self, at: Coordinates) -> int:
        del at
        return NOW

    def last_stored(self, at: Coordinates, first: int) -> int | None:
        assert at.partition == 3
        return max((offset for offset in self.events if offset >= first), default=None)

    def recent_identities(self, at: Coordinates, first: int, last: int) -> tuple[Sequence[int], Sequence[bytes]]:
        assert at.partition == 3
        self.pages.append((first, last))
        known = sorted(offset for offset in self.events if first <= offset <= last)
        return known, [self.events[offset] for offset in known]


def restored(stores: Stores) -> Partition:
    partition = Partition(3)
    restorer = PartitionRestorer(stores, stores, ServerClock(5.0, lambda: 0.0), duplicate_window=50, page_offsets=20)
    stores.steps = len(list(restorer.restore(partition)))
    return partition


def test_completed() -> None:
    """After a commit of the etl without a plan, everything from its offset on is new."""
    partition = restored(Stores(Position(100, None, is_from_etl=True), events={99: b"a"}))

    assert (partition.committed, partition.next_offset, partition.inherited) == (100, 100, None)
    assert partition.stored_through == NOTHING_STORED


def test_planned() -> None:
    """A plan in the commit is inherited, and its deadline is awaited."""
    partition = restored(Stores(Position(100, PLAN, is_from_etl=True), events={105: b"a"}))

    assert (partition.next_offset, partition.inherited, partition.in_flight_until) == (100, PLAN, NOW + 3_000)
    assert partition.stored_through == 105


def test_first_start() -> None:
    """If nothing was ever committed or stored, the log is loaded as new from its beginning."""
    partition = restored(Stores(low=7))

    assert (partition.next_offset, partition.stored_through) == (7, NOTHING_STORED)


@pytest.mark.parametrize(
    "stores", [Stores(Position(100)), Stores(Position(100), events={90: b"a"}), Stores(events={90: b"a"})]
)
def test_unknown_plans(stores: Stores) -> None:
    """A reset or deleted offset may have replaced a plan: everything in the log may be stored, or in flight."""
    partition = restored(stores)

    assert partition.stored_through == 499
    assert partition.in_flight_until == NOW + 5_000


@pytest.mark.parametrize(("low", "high"), [(101, 500), (0, 99)])
def test_lost_offsets(low: int, high: int) -> None:
    """An offset that the log does not hold stops the process."""
    with pytest.raises(LogChangedError, match="partition 3 was stored up to offset 100"):
        restored(Stores(Position(100, None, is_from_etl=True), low=low, high=high))


@pytest.mark.parametrize("high", [100, 119])
def test_lost_messages(high: int) -> None:
    """A plan that ends beyond the log stops the process: its messages were read, and are gone."""
    with pytest.raises(LogChangedError, match="ends beyond the log"):
        restored(Stores(Position(100, PLAN, is_from_etl=True), high=high))


def test_plan_at_the_end_of_the_log() -> None:
    """A plan of the log's last messages is inherited."""
    assert restored(Stores(Position(100, PLAN, is_from_etl=True), high=120)).inherited == PLAN


def test_ends_of_the_log() -> None:
    """The log's first offset and the one after its last are valid positions."""
    for low, high in ((100, 500), (0, 100)):
        assert restored(Stores(Position(100, None, is_from_etl=True), low=low, high=high)).next_offset == 100


def test_window() -> None:
    """The window has the events within the horizon, and neither older nor later ones."""
    events = {49: b"older", 50: b"oldest", 60: b"between", 99: b"newest", 100: b"to come"}
    window = restored(Stores(Position(100, None, is_from_etl=True), events=events)).window
    identities = [b"older", b"oldest", b"between", b"newest", b"to come"]

    assert window.observe(identities, [100, 100, 100, 100, 100]) == {1: 50, 2: 60, 3: 99}


@pytest.mark.parametrize(("start", "pages"), [(0, []), (1, [(0, 0)]), (20, [(0, 19)]), (21, [(0, 19), (20, 20)])])
def test_pages(start: int, pages: list[tuple[int, int]]) -> None:
    """The window is read in pages, one per step, within the log and before the offset."""
    stores = Stores(Position(start, None, is_from_etl=True))
    restored(stores)

    assert (stores.pages, stores.steps) == (pages, len(pages))


def test_pages_of_a_whole_window() -> None:
    """Only the window is read."""
    stores = Stores(Position(100, None, is_from_etl=True))
    restored(stores)

    assert stores.pages == [(50, 69), (70, 89), (90, 99)]


@pytest.mark.parametrize(("seconds", "logged"), [(1.0, []), (2.0, [(3, 6.0), (3, 6.0)]), (9.0, [(1, 9.0), (3, 27.0)])])
def test_slow_restorations_are_logged(seconds: float, logged: list[tuple[int, float]]) -> None:
    """A restoration that takes more than five seconds is logged then, and when it ends, with the rows read."""
    stores = Stores(Position(100, None, is_from_etl=True), events={60: b"a", 80: b"b", 95: b"c"})
    clock = ServerClock(5.0, lambda: 0.0)
    restorer = PartitionRestorer(
        stores, stores, clock, 50, page_offsets=20, monotonic=lambda: seconds * len(stores.pages)
    )
    with capture_logs() as lines:
        list(restorer.restore(Partition(3)))

    assert [(line["rows"], line["seconds"]) for line in lines] == logged
    assert {(line["partition"], line["of"], line["log_level"]) for line in lines} <= {(3, 50, "warning")}


def test_topic_is_read_again() -> None:
    """The topic is read once, and again after partitions were assigned."""
    stores = Stores()
    restorer = PartitionRestorer(stores, stores, ServerClock(5.0, lambda: 0.0), duplicate_window=50)
    list(restorer.restore(Partition(3)))
    list(restorer.restore(Partition(3)))

    assert stores.topics_read == 1

    restorer.forget_topic()
    list(restorer.restore(Partition(3)))

    assert stores.topics_read == 2


def placed(stores: Stores, shards: int = 3) -> Placement:
    """Return where the rows are after a restoration with so many shards, also for the queries during it."""
    partition = Partition(3)
    restorer = PartitionRestorer(stores, stores, ServerClock(5.0, lambda: 0.0), duplicate_window=50, shards=shards)
    list(restorer.restore(partition))
    assert partition.at is not None
    return partition.at.placement


def test_recorded_placement() -> None:
    """What the commit records of the same number of shards stays, and rows beyond it are read from one shard."""
    stores = Stores(Position(100, None, is_from_etl=True, placement=Placement(3, 40)))

    assert placed(stores) == Placement(3, 40)
    assert stores.asked == [Placement(3, 40)]


# The rows end at offset 149, and the plan at 109.
UNRECORDED = {
    "nothing": (Position(100, None, is_from_etl=True), {}, 100),
    "another number of shards": (Position(100, None, is_from_etl=True, placement=Placement(2, 40)), {}, 100),
    "a plan": (Position(100, PLAN, is_from_etl=True), {}, PLAN.end + 1),
    "rows beyond the commit": (Position(100, None, is_from_etl=True), {149: b"a"}, 150),
    "the commit of another tool": (Position(100), {}, 500),
    "no commit": (Position(), {90: b"a"}, 500),
}


@pytest.mark.parametrize("case", UNRECORDED)
def test_unrecorded_placement(case: str) -> None:
    """Otherwise every shard is asked, and the rule holds from the first offset that no shard can hold yet."""
    position, events, since = UNRECORDED[case]
    stores = Stores(position, events=dict(events))

    assert placed(stores) == Placement(3, since)
    assert stores.asked == [Placement.unknown(3)]


def test_one_shard_has_every_row() -> None:
    """With one shard nothing has to be recorded."""
    assert placed(Stores(Position(100, PLAN, is_from_etl=True)), shards=1).metadata() == {}
