"""The duplicate window of a partition after partitions were added to its topic."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import pytest
from structlog.testing import capture_logs

from common.partition_change import PartitionChange
from etl.background import inline
from etl.partition import Partition
from etl.plan import Coordinates, Topic
from etl.windows import RESTORE_SECONDS_EXPECTED, STORED_POLL_SECONDS, WindowRestorer

TOPIC = Topic("ugc.events", "0d6be9f0-7c1f-4f5e-9f0f-3d2a6c1b8e55", "cluster")
HORIZON, PARTITION, RECORD = 10, 2, 3


@dataclass
class Stores:
    """A topic of three partitions; `rows` are the identities of the events of each, by offset."""

    rows: dict[int, dict[int, bytes]]
    ends: tuple[int, ...] = (50, 40, 0)
    topic: str = TOPIC.identity
    committed: dict[int, int] = field(default_factory=lambda: {0: 50, 1: 40})
    asked: list[tuple[int, int, int]] = field(default_factory=list)
    seconds: float = 0.0

    def committed_offsets(self, topic: Topic, partitions: Collection[int]) -> Mapping[int, int]:
        assert topic == TOPIC
        return {number: self.committed.get(number, 0) for number in partitions}

    def require_servers(self, at: Coordinates) -> None:
        assert at.placement.is_unknown

    def recent_identities(self, at: Coordinates, first: int, last: int) -> tuple[Sequence[int], Sequence[bytes]]:
        found = sorted(each for each in self.rows.get(at.partition, {}).items() if first <= each[0] <= last)
        return [offset for offset, _ in found], [identity for _, identity in found]

    def moved_identities(
        self, at: Coordinates, first: int, last: int, to: int, partitions: int
    ) -> tuple[Sequence[int], Sequence[bytes]]:
        assert (to, partitions) == (PARTITION, 3)
        self.asked.append((at.partition, first, last))
        return self.recent_identities(at, first, last)

    def partition_changes(self, at: Coordinates, first: int, last: int) -> Sequence[tuple[int, bytes]]:
        assert at == Coordinates(TOPIC, PARTITION)
        value = PartitionChange(self.topic, 3, self.ends).value()
        return [(RECORD, value)] if first <= RECORD <= last else []

    def monotonic(self) -> float:
        return self.seconds


def restorer(stores: Stores) -> WindowRestorer:
    return WindowRestorer(stores, stores, HORIZON, 4, stores.monotonic, inline)


def restored(stores: Stores, start: int = RECORD + 1) -> Partition:
    """Return partition 2 with its window before an offset."""
    partition = Partition(PARTITION)
    deque(restorer(stores).restore(partition, Coordinates(TOPIC, PARTITION), start), maxlen=0)
    return partition


def repeats(partition: Partition, offset: int, *identities: bytes) -> list[bytes]:
    """Return which events are duplicates at an offset."""
    return [each for each in identities if partition.window.find([each], [offset]).earlier]


def test_events_of_former_partitions() -> None:
    """An event that another partition has stored before the change is a duplicate behind the record."""
    partition = restored(Stores({0: {49: b"a"}, 1: {39: b"b"}}))

    assert repeats(partition, RECORD + 1, b"a", b"b", b"c") == [b"a", b"b"]


def test_distance() -> None:
    """The messages to the end of the former partition and those from the record on count together."""
    stores = Stores({0: {45: b"a", 44: b"c"}})

    # Five from the event to the end of its partition, and five from the record on.
    assert repeats(restored(stores), RECORD + 5, b"a") == [b"a"]
    assert repeats(restored(stores), RECORD + 6, b"a") == []
    assert repeats(restored(stores), RECORD + 5, b"c") == []


@pytest.mark.parametrize("start", range(RECORD + 1, RECORD + 12))
def test_every_owner_finds_the_same(start: int) -> None:
    """A window that is restored later has the same duplicates as one that has run on from the record."""
    rows = {0: {40: b"a", 46: b"b", 49: b"c"}, 1: {31: b"d", 38: b"e"}, 2: {0: b"c", 2: b"f", 5: b"g", 8: b"h"}}
    began = restored(Stores(rows))
    own = {offset: key for offset, key in rows[2].items() if RECORD < offset < start}
    began.window.add(list(own.values()), list(own))
    later = restored(Stores(rows), start)

    for offset in range(start, start + HORIZON + 2):
        for identity in (b"a", b"b", b"c", b"d", b"e", b"f", b"g", b"h"):
            assert repeats(began, offset, identity) == repeats(later, offset, identity), (offset, identity)


def test_the_later_place_counts() -> None:
    """Of an event that is in both partitions the later place counts, by the distance to what follows."""
    partition = restored(Stores({0: {49: b"a"}, 2: {0: b"a"}}))

    assert repeats(partition, RECORD - 1 + HORIZON, b"a") == [b"a"]
    assert repeats(partition, RECORD + HORIZON, b"a") == []


def test_nothing_is_read_twice_or_needlessly() -> None:
    """Only what is within the horizon of the continued offset is read, page by page; later nothing is."""
    stores = Stores({})
    restored(stores, RECORD + 4)
    assert stores.asked == [(0, 44, 47), (0, 48, 49), (1, 34, 37), (1, 38, 39)]

    stores.asked.clear()
    restored(stores, RECORD + HORIZON + 1)
    assert stores.asked == []


def test_record_of_an_earlier_topic() -> None:
    """A record that names another topic, as a copied log has it, changes nothing."""
    stores = Stores({0: {49: b"a"}}, topic="another")

    assert repeats(restored(stores), RECORD + 1, b"a") == []
    assert stores.asked == []


def test_waits_for_former_partitions() -> None:
    """Nothing is read until the other partitions are stored up to the change; a long wait is logged."""
    stores = Stores({0: {49: b"a"}}, committed={0: 49, 1: 40})
    partition = Partition(PARTITION)
    steps = restorer(stores).restore(partition, Coordinates(TOPIC, PARTITION), RECORD + 1)
    with capture_logs() as early:
        next(steps)
    assert (stores.asked, early, partition.wait_until) == ([], [], STORED_POLL_SECONDS)

    stores.seconds = RESTORE_SECONDS_EXPECTED
    with capture_logs() as late:
        next(steps)
    assert [(line["event"], line["others"]) for line in late] == [
        ("a partition waits until others are stored, because its users were there", [0])
    ]

    stores.committed[0] = 50
    deque(steps, maxlen=0)
    assert repeats(partition, RECORD + 1, b"a") == [b"a"]
