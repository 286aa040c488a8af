"""A batch that is being delivered, and the decision which of its messages are events, duplicates or refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Protocol

from etl.errors import DataRefusedError, LogChangedError
from etl.events.rows import Message, Rows, reject_rows
from etl.partition import Partition
from etl.plan import Block, Coordinates, Plan
from etl.search import Search
from etl.tracing import BatchTrace


@dataclass
class Batch:
    """Consecutive messages of a partition, their rows, and the plan under which these are inserted."""

    at: Coordinates
    messages: Sequence[Message]
    rows: Rows
    plan: Plan
    # The number of inserts made; it numbers their names.
    parts: int = 0
    # The offset of each original that has duplicates in this batch, and the offset of its last duplicate.
    last_copies: Mapping[int, int] = field(default_factory=dict)
    # Whether the refusal ratio already counts the rows of this batch.
    is_counted: bool = False
    # Offsets that a former attempt has stored as refused events, and as duplicates.
    found_refused: Collection[int] = ()
    found_duplicates: Collection[int] = ()
    # The messages that have become rows, by table and reason.
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    # Its spans, if a message of it is sampled.
    trace: BatchTrace | None = None

    def next_part(self) -> int:
        """Return the number of the next insert."""
        self.parts += 1
        return self.parts

    def traced(self) -> AbstractContextManager[None]:
        """Return a context in which the batch is delivered; its end is that of the batch's span."""
        return nullcontext() if self.trace is None else self.trace.open()

    def stage(self, name: str) -> AbstractContextManager[None]:
        """Return a context in which a stage of the delivery is done."""
        return nullcontext() if self.trace is None else self.trace.stage(name)

    def inserting(self, block: Block) -> AbstractContextManager[Block]:
        """Return a context in which a block is inserted."""
        return nullcontext(block) if self.trace is None else self.trace.inserting(block)


class StoredEvents(Protocol):
    """Reads which events are stored."""

    def recent_identities(self, at: Coordinates, first: int, last: int) -> tuple[Sequence[int], Sequence[bytes]]:
        """Return the offsets of events and duplicates from `first` to `last`, ascending, and their identities."""


def classify(
    batch: Batch,
    partition: Partition,
    events: StoredEvents,
    search: Callable[[Batch], Search],
    recovered: Collection[int] = (),
) -> Iterator[None]:
    """Reject the duplicates of a batch, and add the batch to the partition's duplicate window.

    A copy of an event that ClickHouse refuses is not a duplicate, yet rejected rows are inserted before events. An
    event that has copies in this batch is therefore probed first, without storing it. `recovered` are the offsets that
    an earlier attempt stored: some as events and duplicates, and the other decodable ones as refused. They stay so.
    """
    identities, offsets, window = batch.rows.identities, batch.rows.offsets, partition.window
    stored = set(events.recent_identities(batch.at, batch.plan.first, batch.plan.end)[0]) if recovered else set[int]()
    refused = {offset for offset in offsets if offset in recovered} - stored if recovered else set[int]()
    batch.found_refused = frozenset(refused)
    found = window.find(identities, offsets, stored, refused)
    errors: dict[int, DataRefusedError] = {}
    counted: set[bytes] = set()
    unproven, probed = set(found.last_copies), set(stored)
    while unproven:
        attempt = search(batch)
        attempt.counted = counted
        # In a batch with many copies most probed rows may be refused although they are few of the batch.
        yield from attempt.try_all(batch.rows.select(unproven.__contains__), 0 if batch.is_counted else len(offsets))
        probed |= unproven
        if not attempt.found:
            break
        batch.is_counted = True
        errors |= attempt.found
        refused |= attempt.found.keys()
        found = window.find(identities, offsets, stored, refused)
        # Any other copy of a refused event may be the next original.
        copied = {identity for identity, offset in zip(identities, offsets, strict=True) if offset in attempt.found}
        copies = {offset for identity, offset in zip(identities, offsets, strict=True) if identity in copied}
        unproven = copies - probed - refused
    duplicates = {offsets[index] for index in found.earlier}
    window.add(identities, offsets, refused - duplicates)
    reasons = {offset: refusal_text(error) for offset, error in errors.items() if offset not in duplicates}
    batch.rows = reject_rows(batch.rows, batch.messages, found.earlier, reasons)
    batch.last_copies, batch.found_duplicates = found.last_copies, found.stored


def coordinates(partition: Partition) -> Coordinates:
    """Return the coordinates of a restored partition."""
    assert partition.at is not None  # noqa: S101 -- restoring the partition sets it
    return partition.at


def require_planned_messages(partition: Partition, planned: Plan, found: Plan) -> None:
    """Raise LogChangedError if the messages are not those that the plan was made for."""
    if (planned.end, planned.rows, planned.digest) != (found.end, found.rows, found.digest):
        raise LogChangedError(
            f"partition {partition.number}: the plan {planned} does not fit the log, which has {found.rows} messages "
            f"with digest {found.digest} there; were messages deleted before they were stored? Check with ugc-audit, "
            "then commit the offset to continue from with empty metadata, with Kafka's own tools, while no etl runs"
        )


def refusal_text(error: DataRefusedError) -> str:
    """Return the reason that is stored with a refused event."""
    return f"ClickHouse's error {error.code}: {error}"


def forget_refused(batch: Batch, rows: Rows, partition: Partition) -> None:
    """Remove refused events from the duplicate window: a later copy of one is not a duplicate."""
    for offset, identity in zip(rows.offsets, rows.identities, strict=True):
        partition.window.forget(identity, (offset, batch.last_copies.get(offset, offset)))
