"""The conservation law, as a pure function of the rows in ClickHouse and the offsets in Kafka.

For each partition of a topic, every consumed offset is exactly one row, in `events` or in `rejected_events`.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

# Rows are counted in buckets of this many offsets; only the offsets of a bucket with a wrong count are read.
BUCKET_OFFSETS = 65_536
# Examples of each kind of breach in a partition; the counts include all of them.
EXAMPLES_MAX = 10


class BreachKind(StrEnum):
    """The ways to break the law."""

    MISSING = "missing"
    TWICE = "stored twice"
    BEYOND = "beyond the committed offset"
    REPEATED = "repeated event_id"
    LOST = "deleted from Kafka before they were consumed: the partition is halted"
    SHORTER = "committed beyond the end of Kafka's log: the partition is halted"
    BEHIND = "not consumed in time"
    STALLED = "not consumed, the first of them written long ago"
    HALTED = "not consumed, because the partition is halted"


# The unit of the count of each kind.
UNITS = {
    BreachKind.MISSING: "offsets",
    BreachKind.TWICE: "rows",
    BreachKind.BEYOND: "offsets",
    BreachKind.REPEATED: "events",
    BreachKind.LOST: "messages",
    BreachKind.SHORTER: "offsets",
    BreachKind.BEHIND: "messages",
    BreachKind.STALLED: "messages",
    BreachKind.HALTED: "messages",
}


class Example(NamedTuple):
    """A case as text, and how many of the count it stands for."""

    text: str
    stands_for: int


@dataclass(frozen=True)
class Breach:
    """A violation of the law in a partition: how often, and the first cases as text."""

    kind: BreachKind
    topic_id: uuid.UUID
    partition: int
    count: int
    examples: tuple[str, ...]
    # How many of `count` the examples stand for; one example may be a range of offsets.
    shown: int

    def __str__(self) -> str:
        more = f"; and {self.count - self.shown:,} more {UNITS[self.kind]}" if self.count > self.shown else ""
        where = f"topic {self.topic_id} partition {self.partition}"
        return f"{where}: {self.count:,} {self.kind}: {'; '.join(self.examples)}{more}"


@dataclass(frozen=True)
class Bucket:
    """The rows of a range of offsets: in each table, distinct offsets, and distinct ones before the floor."""

    events: int
    rejected: int
    distinct: int
    settled: int
    first: int
    last: int


class StoredOffset(NamedTuple):
    """An offset and the number of its rows in each table."""

    offset: int
    events: int
    rejected: int


@dataclass(frozen=True)
class Claim:
    """The offsets of a partition in Kafka, and what they require of the tables.

    Each offset from `low` until before `floor` must be stored, and none after `ceiling` may be; those between are being
    inserted. While the etl runs, `floor` must be read before the tables and `ceiling` after them.
    """

    low: int
    high: int
    committed: int
    floor: int
    ceiling: int


@dataclass(frozen=True)
class Repeats:
    """Events stored at several offsets: within the duplicate window, farther apart, and in other partitions."""

    near: int = 0
    far: int = 0
    elsewhere: int = 0
    examples: tuple[Example, ...] = ()


@dataclass(frozen=True)
class Partition:
    """The result for a partition; without a claim its topic is an earlier one of the same name."""

    topic_id: uuid.UUID
    number: int
    claim: Claim | None
    first: int | None
    last: int | None
    events: int
    rejected: int
    missing: int
    twice: int
    beyond: int
    in_flight: int
    repeats: Repeats
    breaches: tuple[Breach, ...]

    @property
    def lag(self) -> int:
        """Number of messages that the group has not committed."""
        return self.claim.high - max(self.claim.committed, self.claim.low) if self.claim else 0


# Returns the stored offsets from the first to the last argument, both included.
ReadOffsets = Callable[[int, int], Sequence[StoredOffset]]


def check_partition(
    topic_id: uuid.UUID,
    number: int,
    claim: Claim | None,
    buckets: Sequence[Bucket],
    repeats: Repeats,
    read_offsets: ReadOffsets,
) -> Partition:
    """Return the counts and the breaches of a partition; `buckets` are its rows, in order."""
    first = buckets[0].first if buckets else None
    last = buckets[-1].last if buckets else None
    # An earlier topic was deleted with its offsets: its rows can only be compared with one another.
    floor, ceiling = (claim.floor, claim.ceiling) if claim else limits_of_rows(last)
    start = min(each for each in (first, claim.low if claim else None, floor) if each is not None)
    settled, distinct = sum(each.settled for each in buckets), sum(each.distinct for each in buckets)
    rows = sum(each.events + each.rejected for each in buckets)
    beyond_ranges = list(stored_ranges(buckets, ceiling + 1, read_offsets))
    beyond = sum(end - begin + 1 for begin, end in beyond_ranges)
    missing, twice = floor - start - settled, rows - distinct

    def breach(kind: BreachKind, count: int, examples: Iterable[Example]) -> list[Breach]:
        if not count:
            return []
        shown = tuple(itertools.islice(examples, EXAMPLES_MAX))
        texts = tuple(example.text for example in shown)
        return [Breach(kind, topic_id, number, count, texts, sum(example.stands_for for example in shown))]

    return Partition(
        topic_id,
        number,
        claim,
        first,
        last,
        events=sum(each.events for each in buckets),
        rejected=sum(each.rejected for each in buckets),
        missing=missing,
        twice=twice,
        beyond=beyond,
        in_flight=ceiling + 1 - floor - (distinct - settled - beyond),
        repeats=repeats,
        breaches=(
            *breach(
                BreachKind.MISSING, missing, map(range_example, missing_ranges(buckets, start, floor, read_offsets))
            ),
            *breach(BreachKind.TWICE, twice, repeated_offsets(buckets, read_offsets)),
            *breach(BreachKind.BEYOND, beyond, map(range_example, beyond_ranges)),
            *breach(BreachKind.REPEATED, repeats.near, repeats.examples),
        ),
    )


def limits_of_rows(last: int | None) -> tuple[int, int]:
    """Return floor and ceiling for a partition that is in no topic of Kafka's, from its last row."""
    return (0, -1) if last is None else (last + 1, last)


def missing_ranges(
    buckets: Sequence[Bucket], start: int, floor: int, read_offsets: ReadOffsets
) -> Iterator[tuple[int, int]]:
    """Yield the ranges before `floor` that have no rows."""
    expected = start
    for begin, end in stored_ranges(buckets, start, read_offsets):
        if expected < min(begin, floor):
            yield expected, min(begin, floor) - 1
        expected = end + 1
        if expected >= floor:
            return
    if expected < floor:
        yield expected, floor - 1


def stored_ranges(buckets: Sequence[Bucket], start: int, read_offsets: ReadOffsets) -> Iterator[tuple[int, int]]:
    """Yield the ranges from `start` on that are stored without a gap."""
    for bucket in buckets:
        if bucket.last < start:
            continue
        if bucket.distinct == bucket.last - bucket.first + 1:
            yield max(bucket.first, start), bucket.last
        else:
            offsets = [each.offset for each in read_offsets(max(bucket.first, start), bucket.last)]
            islands = itertools.groupby(enumerate(offsets), lambda pair: pair[1] - pair[0])
            for _, island in islands:
                members = [offset for _, offset in island]
                yield members[0], members[-1]


def repeated_offsets(buckets: Sequence[Bucket], read_offsets: ReadOffsets) -> Iterator[Example]:
    """Yield the offsets that have more than one row."""
    for bucket in buckets:
        if bucket.events + bucket.rejected > bucket.distinct:
            for offset, events, rejected in read_offsets(bucket.first, bucket.last):
                if events + rejected > 1:
                    text = f"offset {offset} ({events} of events, {rejected} of rejected_events)"
                    yield Example(text, events + rejected - 1)


def range_example(offsets: tuple[int, int]) -> Example:
    """Return a range of offsets as an example."""
    first, last = offsets
    text = f"offset {first}" if first == last else f"offsets {first} to {last}"
    return Example(text, last - first + 1)
