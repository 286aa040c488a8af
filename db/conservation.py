"""The conservation law, as a pure function: what both tables hold against what Kafka says was consumed.

Of every partition of a topic, each consumed offset is exactly one row, of `events` or of `rejected_events`.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

# The tables are counted in stretches of so many offsets; only a stretch that does not add up is looked into.
BUCKET_OFFSETS = 65_536
# Of each kind of breach in a partition so many are shown; the counts are of all.
EXAMPLES_MAX = 10


class Kind(StrEnum):
    """What can be wrong."""

    MISSING = "missing"
    TWICE = "stored twice"
    BEYOND = "beyond the committed offset"
    REPEATED = "repeated event_id"
    BEHIND = "not consumed in time"
    STANDING = "not consumed, the first of them written long ago"


# What a count of each kind counts, its examples included.
UNITS = {
    Kind.MISSING: "offsets",
    Kind.TWICE: "rows",
    Kind.BEYOND: "offsets",
    Kind.REPEATED: "events",
    Kind.BEHIND: "messages",
    Kind.STANDING: "messages",
}


class Example(NamedTuple):
    """A case in words, and how many of its kind it stands for."""

    text: str
    stands_for: int


@dataclass(frozen=True)
class Breach:
    """Something that the law forbids: how often, and the first cases in words."""

    kind: Kind
    topic_id: uuid.UUID
    partition: int
    count: int
    examples: tuple[str, ...]
    # How many of `count` the examples stand for: one may name a whole stretch of offsets.
    shown: int

    def __str__(self) -> str:
        more = f"; and {self.count - self.shown:,} more {UNITS[self.kind]}" if self.count > self.shown else ""
        where = f"topic {self.topic_id} partition {self.partition}"
        return f"{where}: {self.count:,} {self.kind}: {'; '.join(self.examples)}{more}"


@dataclass(frozen=True)
class Bucket:
    """What both tables hold of one stretch of offsets; `settled` are the distinct ones that must be there."""

    events: int
    rejected: int
    distinct: int
    settled: int
    first: int
    last: int


class Stored(NamedTuple):
    """An offset and its rows in each table."""

    offset: int
    events: int
    rejected: int


@dataclass(frozen=True)
class Claim:
    """What Kafka says of a partition.

    Every offset from `low` on and before `floor` must be stored, none after `ceiling` may be; between them stands what
    is being inserted. On a system that runs, `floor` is read before the tables and `ceiling` after them.
    """

    low: int
    high: int
    committed: int
    floor: int
    ceiling: int


@dataclass(frozen=True)
class Repeats:
    """Events of one event_id and user at several offsets in `events`: within the window, farther apart, elsewhere."""

    near: int = 0
    far: int = 0
    elsewhere: int = 0
    examples: tuple[Example, ...] = ()


@dataclass(frozen=True)
class Partition:
    """What was found of one partition; without a claim the topic is an earlier one of the same name."""

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
        """Messages that the group has not committed."""
        return self.claim.high - max(self.claim.committed, self.claim.low) if self.claim else 0


Look = Callable[[int, int], Sequence[Stored]]


def judge(
    topic_id: uuid.UUID, number: int, claim: Claim | None, buckets: Sequence[Bucket], repeats: Repeats, look: Look
) -> Partition:
    """Hold one partition to the law; `look` reads the stored offsets from one to another, both included."""
    first = buckets[0].first if buckets else None
    last = buckets[-1].last if buckets else None
    # An earlier topic is gone, and with it what Kafka knew: its rows can only be held against one another.
    floor, ceiling = (claim.floor, claim.ceiling) if claim else after(last)
    start = min(each for each in (first, claim.low if claim else None, floor) if each is not None)
    settled, distinct = sum(each.settled for each in buckets), sum(each.distinct for each in buckets)
    rows = sum(each.events + each.rejected for each in buckets)
    beyond_ranges = list(stored_ranges(buckets, ceiling + 1, look))
    beyond = sum(end - begin + 1 for begin, end in beyond_ranges)
    missing, twice = floor - start - settled, rows - distinct

    def breach(kind: Kind, count: int, examples: Iterable[Example]) -> list[Breach]:
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
            *breach(Kind.MISSING, missing, map(spell, missing_ranges(buckets, start, floor, look))),
            *breach(Kind.TWICE, twice, doubles(buckets, look)),
            *breach(Kind.BEYOND, beyond, map(spell, beyond_ranges)),
            *breach(Kind.REPEATED, repeats.near, repeats.examples),
        ),
    )


def after(last: int | None) -> tuple[int, int]:
    """Return floor and ceiling for a partition of which nothing but its rows is known."""
    return (0, -1) if last is None else (last + 1, last)


def missing_ranges(buckets: Sequence[Bucket], start: int, floor: int, look: Look) -> Iterator[tuple[int, int]]:
    """Find the stretches before `floor` of which no row is stored."""
    expected = start
    for begin, end in stored_ranges(buckets, start, look):
        if expected < min(begin, floor):
            yield expected, min(begin, floor) - 1
        expected = end + 1
        if expected >= floor:
            return
    if expected < floor:
        yield expected, floor - 1


def stored_ranges(buckets: Sequence[Bucket], start: int, look: Look) -> Iterator[tuple[int, int]]:
    """Find the stretches from `start` on that are stored without a gap."""
    for bucket in buckets:
        if bucket.last < start:
            continue
        if bucket.distinct == bucket.last - bucket.first + 1:
            yield max(bucket.first, start), bucket.last
        else:
            offsets = [each.offset for each in look(max(bucket.first, start), bucket.last)]
            islands = itertools.groupby(enumerate(offsets), lambda pair: pair[1] - pair[0])
            for _, island in islands:
                members = [offset for _, offset in island]
                yield members[0], members[-1]


def doubles(buckets: Sequence[Bucket], look: Look) -> Iterator[Example]:
    """Find the offsets that have more than one row."""
    for bucket in buckets:
        if bucket.events + bucket.rejected > bucket.distinct:
            for offset, events, rejected in look(bucket.first, bucket.last):
                if events + rejected > 1:
                    text = f"offset {offset} ({events} of events, {rejected} of rejected_events)"
                    yield Example(text, events + rejected - 1)


def spell(stretch: tuple[int, int]) -> Example:
    """Write a stretch of offsets."""
    first, last = stretch
    text = f"offset {first}" if first == last else f"offsets {first} to {last}"
    return Example(text, last - first + 1)
