"""Kafka messages to ClickHouse columns: a pure function, so that the same messages always give the same rows.

Values that ClickHouse would not accept are found here, because one of them would fail the insert of the whole block.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import compress
from typing import Protocol, TypeAlias, cast

import pyarrow as pa

from common.partition_change import read_change
from etl.events.columns import EVENT_COLUMNS, MILLISECONDS_MAX, USER, convert, inconvertible, read_ids
from etl.events.duplicates import DuplicateWindow, copied
from etl.events.identity import identities, readable, split
from etl.events.parsing import parse

DIGEST_STEP = 16
# Why a message is not a row of `events`.
UNDECODABLE, DUPLICATE, REFUSED = "undecodable", "duplicate", "refused"
# Not an event either: the record that partitions were added (common/partition_change.py).
PARTITIONS_ADDED = "partitions_added"
Column: TypeAlias = "Sequence[object] | pa.Array"


class Message(Protocol):
    """A Kafka message; confluent_kafka.Message has these methods."""

    def value(self) -> bytes | None:
        """Return the payload; None is a tombstone."""

    def partition(self) -> int:
        """Return the partition."""

    def offset(self) -> int:
        """Return the position in the partition."""

    def timestamp(self) -> tuple[int, int]:
        """Return the kind of timestamp, and the milliseconds since the Unix epoch."""

    def __len__(self) -> int:
        """Return the size of the payload in bytes."""


@dataclass(frozen=True)
class Rejected:
    """A message that did not become an event: the reason, its bytes, and its ids where these can be read."""

    offset: int
    reason: str
    error: str
    raw: bytes
    kafka_milliseconds: int
    event_id: bytes = b""
    user_id: bytes = b""


@dataclass(frozen=True)
class Rows:
    """The messages of one batch, each either in `columns` or in `rejected`.

    `columns` have the order of `EVENT_COLUMNS`, with the offsets last. They have the same length, and so has
    `identities`, 32 bytes each. Identities and offsets are lists because Python reads each value; other columns are
    Arrow arrays.
    """

    columns: list[Column] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    identities: list[bytes] = field(default_factory=list)

    @property
    def events(self) -> int:
        """The number of events."""
        return len(self.columns[0]) if self.columns else 0

    @property
    def offsets(self) -> list[int]:
        """The offsets of the events."""
        return cast("list[int]", list(self.columns[-1])) if self.columns else []

    def select(self, wanted: Callable[[int], bool]) -> Rows:
        """Return the rows with the selected offsets."""
        mask = [wanted(offset) for offset in self.offsets]
        columns = [keep(column, mask) for column in self.columns]
        rejected = [each for each in self.rejected if wanted(each.offset)]
        return Rows(columns, rejected, list(compress(self.identities, mask)))

    def halves(self) -> tuple[Rows, Rows]:
        """Split the events in the middle."""
        first, second = self.cut(self.events // 2)
        return first, second

    def cut(self, *indexes: int) -> list[Rows]:
        """Split the events before the rows with these indexes."""
        parts = itertools.starmap(slice, itertools.pairwise([0, *indexes, self.events]))
        return [Rows([column[part] for column in self.columns], [], self.identities[part]) for part in parts]


def keep(column: Column, mask: list[bool]) -> Column:
    """Return the values where the mask is true."""
    if isinstance(column, pa.Array):
        return column.filter(pa.array(mask, pa.bool_()))
    return list(compress(column, mask))


def digest(messages: Sequence[Message]) -> str:
    """Return a checksum of a batch's contents, 8 hexadecimal digits, which shows that the log was rewritten.

    A log that was truncated and written again differs up to its end, a recreated one everywhere. A sample of the last
    values and every sixteenth is therefore enough, at a tenth of the cost of all.
    """
    sample = [*messages[::DIGEST_STEP], *messages[-DIGEST_STEP:]]
    return f"{zlib.crc32(b''.join(message.value() or b'' for message in sample)):08x}"


def decode(messages: Sequence[Message]) -> Rows:
    """Turn the messages of one partition into rows."""
    table, faults = parse([message.value() for message in messages])
    rejected = [reject_undecodable(messages[index], error) for index, error in faults.items()]
    every = range(len(messages))
    good: Sequence[int] = [index for index in every if index not in faults] if faults else every
    # A column of texts is checked while it is packed; single rows are examined only if one of them does not fit.
    converted = convert(table)
    if converted is None:
        misfits = inconvertible(table)
        ids = readable(*(column.take(pa.array(list(misfits), pa.int64())) for column in read_ids(table)))
        for (row, error), each in zip(misfits.items(), ids, strict=True):
            rejected.append(reject(messages[good[row]], UNDECODABLE, error, *each))
        fits = [row for row in range(table.num_rows) if row not in misfits]
        converted = convert(table.take(pa.array(fits, pa.int64())))
        assert converted is not None  # noqa: S101 -- `convert` and `inconvertible` make the same checks
        good = [good[row] for row in fits]
    columns = [*(read(converted) for read in EVENT_COLUMNS.values()), [messages[index].offset() for index in good]]
    keys = identities(converted.column("event_id"), converted.column(USER))
    return Rows(columns, sorted(rejected, key=offset_of), keys)


def without_duplicates(rows: Rows, messages: Sequence[Message], window: DuplicateWindow) -> Rows:
    """Reject the events that are duplicates, and add the batch to the window; no event is refused."""
    duplicates = window.observe(rows.identities, rows.offsets)
    return reject_rows(rows, messages, duplicates, {})


def reject_rows(
    rows: Rows, messages: Sequence[Message], duplicates: Mapping[int, int], refused: Mapping[int, str]
) -> Rows:
    """Reject duplicates, given as index to the offset of the earlier copy, and refused events, as offset to error."""
    if not duplicates and not refused:
        return rows
    offsets = rows.offsets
    reasons = {offset: (REFUSED, error) for offset, error in refused.items()}
    reasons |= {offsets[index]: (DUPLICATE, f"repeats {copied(first)}") for index, first in duplicates.items()}
    by_offset = {message.offset(): message for message in messages if message.offset() in reasons}
    rejected = [
        reject(by_offset[offset], *reasons[offset], *split(identity))
        for offset, identity in zip(offsets, rows.identities, strict=True)
        if offset in reasons
    ]
    kept = rows.select(lambda offset: offset not in reasons)
    return replace(kept, rejected=sorted(kept.rejected + rejected, key=offset_of))


def reject(message: Message, reason: str, error: str, event_id: bytes = b"", user_id: bytes = b"") -> Rejected:
    """Return a message as a rejected one; its timestamp is clamped, because producers may send any or none."""
    milliseconds = min(max(message.timestamp()[1], 0), MILLISECONDS_MAX)
    return Rejected(message.offset(), reason, error, message.value() or b"", milliseconds, event_id, user_id)


def reject_undecodable(message: Message, error: str) -> Rejected:
    """Return a message that is not an EventRecord, as the record of added partitions if it is one."""
    change = read_change(message.value())
    if change is None:
        return reject(message, UNDECODABLE, error)
    return reject(message, PARTITIONS_ADDED, f"the topic has {change.partitions} partitions from here on")


def offset_of(rejected: Rejected) -> int:
    """Return the offset of a message."""
    return rejected.offset
