"""A partition whose log has changed stays halted for every later owner, until a person has decided."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence

import pytest

from etl.delivery import Delivery
from etl.errors import SourceError
from etl.halting import halted_metadata
from etl.loader import Loader
from etl.partition import FlushLimits, LoaderLimits
from etl.placement import Placement
from etl.plan import METADATA_CHARACTERS_MAX, Coordinates, Plan, Position, ServerClock, Topic, read_position
from etl.refusals import Refusals
from etl.restoring import PartitionRestorer
from tests.simulation.log import decode
from tests.support.fakes.delivering import AT
from tests.support.fakes.loading import World

TOPIC = AT.topic.identity
COMPLETED = json.dumps({"v": 1, "topic": TOPIC}, separators=(",", ":"))
PLAN = Plan(TOPIC, 100, 119, 20, "00c0ffee", 1_790_000_000_000, Placement(3, 40))


class CutWorld(World):
    """One partition whose group has committed offset 100, with a log whose end the test sets."""

    def __init__(self) -> None:
        super().__init__(1)
        self.committed = (100, COMPLETED)
        self.high = 80
        self.is_answering = True
        self.commits = 0

    def commit(self, partition: int, offset: int, metadata: str) -> None:
        del partition
        self.commits += 1
        if not self.is_answering:
            raise SourceError("no answer")
        self.committed = (offset, metadata)

    def topic(self) -> Topic:
        return AT.topic

    def position(self, at: Coordinates) -> Position:
        del at
        return read_position(TOPIC, *self.committed)

    def committed_offsets(self, topic: Topic, partitions: Collection[int]) -> Mapping[int, int]:
        del topic
        return dict.fromkeys(partitions, 0)

    def limits(self, partition: int) -> tuple[int, int]:
        del partition
        return 0, self.high

    def last_stored(self, at: Coordinates, first: int) -> int | None:
        del at, first
        return None

    def moved_identities(
        self, at: Coordinates, first: int, last: int, to: int, partitions: int
    ) -> tuple[Sequence[int], Sequence[bytes]]:
        del at, first, last, to, partitions
        return (), ()

    def partition_changes(self, at: Coordinates, first: int, last: int) -> Sequence[tuple[int, bytes]]:
        del at, first, last
        return ()


def owner(world: CutWorld) -> Loader:
    """Return a new owner of the partition, after it has tried to restore it."""
    clock = ServerClock(5.0, world.monotonic)
    delivery = Delivery(world, world, clock, Refusals(1.0, 1_000), decode=decode)
    limits = LoaderLimits(FlushLimits(0.1, 1_000, 1_000_000), 1_000, 0.2, 5.0)
    restorer = PartitionRestorer(world, world, clock, duplicate_window=50)
    loader = Loader(world, restorer, delivery, limits, world.monotonic)
    loader.on_assigned([0])
    steps(loader)
    return loader


def steps(loader: Loader) -> None:
    for _ in range(5):
        loader.step(0.1)


def is_halted(loader: Loader) -> bool:
    return loader._failures.halted.reason(0) == "is halted: the log does not hold what was committed"


@pytest.mark.parametrize("metadata", [COMPLETED, PLAN.metadata(), ""])
def test_halted_for_every_later_owner(metadata: str) -> None:
    """A log that has grown past the committed offset again does not end the halt; an offset of a person does."""
    world = CutWorld()
    world.committed = (100, metadata)
    first = owner(world)
    assert is_halted(first)
    first.on_revoked([0])
    world.high = 130
    second = owner(world)

    assert is_halted(second)
    assert not second._partitions[0].is_restored
    assert "records that it is halted" in second._partitions[0].problem
    assert "the log holds 0 to 79" in second._partitions[0].problem
    assert (world.committed[0], world.commits) == (100, 1)

    second.on_revoked([0])
    world.committed = (80, "")
    third = owner(world)
    assert not is_halted(third)
    assert third._partitions[0].is_restored


def test_tried_again() -> None:
    """While Kafka does not take the record, the partition stays halted, and the commit is tried again."""
    world = CutWorld()
    world.is_answering = False
    loader = owner(world)
    world.high = 130
    steps(loader)
    assert is_halted(loader)
    assert world.commits > 1
    assert world.committed == (100, COMPLETED)

    world.is_answering = True
    world.seconds += 5.0
    steps(loader)
    assert read_position(TOPIC, *world.committed).halted is not None
    commits = world.commits
    steps(loader)
    assert world.commits == commits
    assert is_halted(loader)


def test_not_recorded_for_an_owner_that_has_lost_it() -> None:
    """A partition that is gone is not committed any more: its next owner may have committed."""
    world = CutWorld()
    world.is_answering = False
    loader = owner(world)
    loader.on_lost([0])
    world.is_answering, world.seconds = True, world.seconds + 5.0
    steps(loader)

    assert world.committed == (100, COMPLETED)


@pytest.mark.parametrize(
    "found",
    [
        Position(100, PLAN, is_from_etl=True, placement=PLAN.placement),
        Position(100, None, is_from_etl=True, placement=Placement(3, 40)),
        Position(100, None, is_from_etl=True),
    ],
)
@pytest.mark.parametrize("reason", ["cut at 80", "", '"\\\u00e9\U0001f600' * 10_000])
def test_record(found: Position, reason: str) -> None:
    """The plan and the placement stay, the reason is cut, and the whole fits into Kafka's metadata."""
    metadata = halted_metadata(TOPIC, found, reason)
    read = read_position(TOPIC, 100, metadata)

    assert len(metadata) <= METADATA_CHARACTERS_MAX
    assert (read.offset, read.plan, read.placement) == (found.offset, found.plan, found.placement)
    assert read.halted is not None
    assert read.halted[:9] == reason[:9].replace('"', "?").replace("\\", "?").replace("\u00e9", "?").replace(
        "\U0001f600", "?"
    )


def test_record_of_an_earlier_topic() -> None:
    """A topic that was created again is not halted."""
    metadata = halted_metadata(TOPIC, Position(100, PLAN, is_from_etl=True), "cut")

    assert read_position("another", 100, metadata) == Position()
