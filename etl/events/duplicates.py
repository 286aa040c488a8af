"""Finds the duplicates among the events of a partition; every owner of the partition finds the same ones.

An event is a duplicate if and only if its identity (event_id and user) occurs among the previous `horizon` offsets of
its partition in an event that was stored, or in a duplicate of one. An event that ClickHouse refused is not stored, so
its copies are not duplicates of it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Self


class FormerOffset(int):
    """The place in this partition of an event that another one had before partitions were added (etl/windows.py)."""

    def __new__(cls, place: int, partition: int, offset: int) -> Self:
        """`partition` and `offset` are where the event is."""
        self = super().__new__(cls, place)
        self.partition, self.offset = partition, offset
        return self

    partition: int
    offset: int


def copied(offset: int) -> str:
    """Return where an earlier copy is, as text."""
    if isinstance(offset, FormerOffset):
        return f"offset {offset.offset} of partition {offset.partition}"
    return f"offset {offset}"


@dataclass(frozen=True)
class Duplicates:
    """The duplicates among consecutive events.

    `earlier` maps the index of a duplicate to the offset of its previous copy. `last_copies` maps the offset of an
    original among these events to the offset of its last duplicate. `stored` are the offsets of duplicates among the
    events that are stored already.
    """

    earlier: dict[int, int] = field(default_factory=dict)
    last_copies: dict[int, int] = field(default_factory=dict)
    stored: set[int] = field(default_factory=set)


class DuplicateWindow:
    """The identities of a partition's last events, in two generations so that dropping old ones is cheap.

    It holds at most two horizons and a batch, about 140 bytes an identity.
    """

    def __init__(self, horizon: int) -> None:
        self._horizon = horizon
        self._recent: dict[bytes, int] = {}
        self._older: dict[bytes, int] = {}
        self._recent_from: int | None = None

    def observe(self, identities: Sequence[bytes], offsets: Sequence[int]) -> dict[int, int]:
        """Find the duplicates among the next events, none of which was refused, and add the events."""
        earlier = self.find(identities, offsets).earlier
        self.add(identities, offsets)
        return earlier

    def find(
        self,
        identities: Sequence[bytes],
        offsets: Sequence[int],
        stored: Collection[int] = (),
        refused: Collection[int] = (),
    ) -> Duplicates:
        """Find the duplicates among the next events; the offsets in `stored` and `refused` have been decided before."""
        if self._are_new(identities):
            return Duplicates()
        found = Duplicates()
        # The last offset of each identity, and the offset of its original if that is among these events.
        within: dict[bytes, tuple[int, int | None]] = {}
        for index, (identity, offset) in enumerate(zip(identities, offsets, strict=True)):
            known, original = within.get(identity) or (self._last(identity), None)
            earlier = known if known is not None and offset - known <= self._horizon else None
            if offset in stored:
                if earlier is not None:
                    found.stored.add(offset)
                within[identity] = (offset, None)
            elif earlier is not None:
                found.earlier[index] = earlier
                within[identity] = (offset, original)
                if original is not None:
                    found.last_copies[original] = offset
            elif offset not in refused:
                within[identity] = (offset, offset)
        return found

    def add(self, identities: Sequence[bytes], offsets: Sequence[int], refused: Collection[int] = ()) -> None:
        """Add the next events except those that were refused."""
        if not identities:
            return
        if self._recent_from is None:
            self._recent_from = offsets[0]
        pairs = zip(identities, offsets, strict=True)
        self._recent.update(pair for pair in pairs if pair[1] not in refused) if refused else self._recent.update(pairs)
        if offsets[-1] - self._recent_from >= self._horizon:
            # What is dropped now is beyond the horizon of every later event.
            self._older, self._recent, self._recent_from = self._recent, {}, offsets[-1] + 1

    def forget(self, identity: bytes, offsets: Collection[int]) -> None:
        """Remove an event that ClickHouse refused, unless a later offset has the same identity."""
        for generation in (self._recent, self._older):
            if generation.get(identity) in offsets:
                del generation[identity]

    def _last(self, identity: bytes) -> int | None:
        return self._recent.get(identity, self._older.get(identity))

    def _are_new(self, identities: Sequence[bytes]) -> bool:
        """Whether no identity is known and none occurs twice: the usual case, three passes in C."""
        return (
            self._recent.keys().isdisjoint(identities)
            and self._older.keys().isdisjoint(identities)
            and len(set(identities)) == len(identities)
        )
