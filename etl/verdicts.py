"""What becomes of the decodable messages of a batch: events, repeats, or refused by ClickHouse where that matters."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Protocol

from etl.batch import Batch, spell
from etl.block import Coordinates
from etl.errors import DataRefusedError
from etl.events.rows import set_aside
from etl.partition import Partition
from etl.search import Search


class Recent(Protocol):
    """Who knows what is stored."""

    def recent(self, at: Coordinates, first: int, last: int) -> tuple[Sequence[int], Sequence[bytes]]:
        """Return the offsets of events and repeats from `first` to `last`, ascending, and their identities."""


def judge(
    batch: Batch, partition: Partition, recent: Recent, search: Callable[[Batch], Search], held: Collection[int] = ()
) -> Iterator[None]:
    """Set repeats aside, and take the batch into the partition's window.

    A copy of an event that ClickHouse refuses is no repeat, and its row is inserted before that event is: so an event
    that has copies in this batch is tried first, without storing it. What an earlier attempt has stored stands: of the
    `held` offsets some are events and repeats, the other decodable ones were refused.
    """
    identities, offsets, window = batch.rows.identities, batch.rows.offsets, partition.window
    stored = set(recent.recent(batch.at, batch.plan.first, batch.plan.end)[0]) if held else set()
    refused = {offset for offset in offsets if offset in held} - stored if held else set()
    verdicts = window.judge(identities, offsets, stored, refused)
    errors: dict[int, DataRefusedError] = {}
    counted: set[bytes] = set()
    doubtful, tried = set(verdicts.chains), set(stored)
    while doubtful:
        attempt = search(batch)
        attempt.counted = counted
        # Of a batch with many copies most rows that are tried may be bad, and yet few of the batch.
        yield from attempt.try_all(batch.rows.select(doubtful.__contains__), 0 if batch.is_counted else len(offsets))
        tried |= doubtful
        if not attempt.found:
            break
        batch.is_counted = True
        errors |= attempt.found
        refused |= attempt.found.keys()
        verdicts = window.judge(identities, offsets, stored, refused)
        # Each other copy of what was refused may be the next original.
        copied = {identity for identity, offset in zip(identities, offsets, strict=True) if offset in attempt.found}
        copies = {offset for identity, offset in zip(identities, offsets, strict=True) if identity in copied}
        doubtful = copies - tried - refused
    repeated = {offsets[index] for index in verdicts.repeats}
    window.take(identities, offsets, refused - repeated)
    reasons = {offset: spell(error) for offset, error in errors.items() if offset not in repeated}
    batch.rows = set_aside(batch.rows, batch.messages, verdicts.repeats, reasons)
    batch.chains = verdicts.chains
