"""Restores the duplicate window of a partition, also across a change of the number of partitions.

After partitions were added, a user's events continue in another partition. A record of the change (common's
partition_change.py) is a message of each partition. Behind it, an event is a duplicate too if its identity occurs in a
former partition of its user before the change, and no more than the horizon lies between: the messages from that copy
to the end of the former partition, and those from the record to the event. So every owner finds the same duplicates.
"""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from heapq import merge
from typing import NamedTuple, Protocol

from common.logs import log_limited
from common.partition_change import PartitionChange, read_change
from etl.background import Background
from etl.events.duplicates import DuplicateWindow, FormerOffset
from etl.partition import Partition
from etl.placement import Placement
from etl.plan import Coordinates, Topic

# Offsets of the window that are read at a time: some megabytes, some hundredths of a second.
PAGE_OFFSETS = 50_000
# A restoration that takes longer is logged, and again when it ends.
RESTORE_SECONDS_EXPECTED = 5.0
# How often Kafka is asked whether the former partitions are stored.
STORED_POLL_SECONDS = 0.5


class Committed(Protocol):
    """What the group has committed."""

    def committed_offsets(self, topic: Topic, partitions: Collection[int]) -> Mapping[int, int]:
        """Return the committed offsets of partitions, 0 without one; SourceError if Kafka does not answer."""


class Identities(Protocol):
    """What ClickHouse holds. Each call raises SinkError if it does not answer."""

    def require_servers(self, at: Coordinates) -> None:
        """Raise SinkError unless the servers that are asked for the partition's rows are those that may hold them."""

    def recent_identities(self, at: Coordinates, first: int, last: int) -> tuple[Sequence[int], Sequence[bytes]]:
        """Return the offsets of events and duplicates from `first` to `last`, ascending, and their identities."""

    def moved_identities(
        self, at: Coordinates, first: int, last: int, to: int, partitions: int
    ) -> tuple[Sequence[int], Sequence[bytes]]:
        """Return the same of those whose users are in partition `to` of so many partitions."""

    def partition_changes(self, at: Coordinates, first: int, last: int) -> Sequence[tuple[int, bytes]]:
        """Return the offsets and the bytes of the records of added partitions from `first` to `last`."""


class Moved(NamedTuple):
    """An identity of another partition, at the offset that it would have in this one."""

    offset: int
    identity: bytes


class WindowRestorer:
    """Reads the identities of the last events before an offset."""

    def __init__(
        self,
        log: Committed,
        history: Identities,
        horizon: int,
        page_offsets: int,
        monotonic: Callable[[], float],
        background: Background,
    ) -> None:
        self._log = log
        self._history = history
        self._horizon = horizon
        self._page_offsets = page_offsets
        self._monotonic = monotonic
        self._background = background

    def restore(self, partition: Partition, at: Coordinates, start: int) -> Iterator[None]:
        """Set the window of a partition that continues at `start`, one page per step."""
        began, is_slow, rows = self._monotonic(), False, 0
        window, low = DuplicateWindow(self._horizon), start - self._horizon
        moved: list[Moved] = []
        for offset, value in self._history.partition_changes(at, low, start - 1):
            change = read_change(value)
            if change is not None and change.topic == at.topic.identity:
                yield from self._await_stored(partition, at, change)
                yield from self._read_moved(at, offset, change, low, moved)
        moved.sort()
        first = low if moved else max(low, 0)
        for page in range(first, start, self._page_offsets):
            end = min(page + self._page_offsets, start)
            offsets, identities = self._history.recent_identities(at, page, end - 1) if end > 0 else ((), ())
            if moved:
                offsets, identities = merged(offsets, identities, moved[slice_of(moved, page, end)])
            window.observe(identities, offsets)
            rows += len(offsets)
            if not is_slow and self._monotonic() - began >= RESTORE_SECONDS_EXPECTED:
                is_slow = True
                self._log_slow("restoring a partition takes long", at, rows, began)
            yield
        if is_slow:
            self._log_slow("a partition was restored slowly", at, rows, began)
        partition.window = window

    def _await_stored(self, partition: Partition, at: Coordinates, change: PartitionChange) -> Iterator[None]:
        """Wait until the other partitions are stored up to the change: only then do the tables show what they had."""
        ends = {number: end for number, end in enumerate(change.ends) if number != at.partition and end}
        began = self._monotonic()
        others = list(ends)
        while True:
            committed = yield from self._background(lambda: self._log.committed_offsets(at.topic, others))
            waits_for = [number for number, end in ends.items() if committed[number] < end]
            if not waits_for:
                return
            if self._monotonic() - began >= RESTORE_SECONDS_EXPECTED:
                warn(at, "a partition waits until others are stored, because its users were there", others=waits_for)
            partition.wait_until = self._monotonic() + STORED_POLL_SECONDS
            yield

    def _read_moved(
        self, at: Coordinates, record: int, change: PartitionChange, low: int, moved: list[Moved]
    ) -> Iterator[None]:
        """Append what the other partitions have of users that the change moved here, from the offset `low` on."""
        for number, end in enumerate(change.ends):
            if number == at.partition:
                continue
            # Where its rows are is recorded with its own commits.
            other = Coordinates(at.topic, number, Placement.unknown(at.placement.shards))
            self._history.require_servers(other)
            shift = record - end
            for page in range(max(low - shift, 0), end, self._page_offsets):
                last = min(page + self._page_offsets, end) - 1
                offsets, identities = self._history.moved_identities(other, page, last, at.partition, change.partitions)
                places = (FormerOffset(offset + shift, number, offset) for offset in offsets)
                moved += map(Moved, places, identities)
                yield

    def _log_slow(self, event: str, at: Coordinates, rows: int, began: float) -> None:
        warn(at, event, rows=rows, of=self._horizon, seconds=round(self._monotonic() - began, 1))


def slice_of(moved: Sequence[Moved], first: int, end: int) -> slice:
    """Return where the offsets from `first` to before `end` are."""
    return slice(bisect_left(moved, (first,)), bisect_left(moved, (end,)))


def merged(
    offsets: Sequence[int], identities: Sequence[bytes], moved: Sequence[Moved]
) -> tuple[list[int], list[bytes]]:
    """Merge what the partition has with what moved to it, by offset."""
    own = (Moved(*each) for each in zip(offsets, identities, strict=True))
    found = list(merge(own, moved))
    return [each.offset for each in found], [each.identity for each in found]


def warn(at: Coordinates, event: str, **values: object) -> None:
    """Log a warning about a partition, which may be restored again and again; rate-limited."""
    log_limited(logging.WARNING, event, kind=at.partition, partition=at.partition, **values)
