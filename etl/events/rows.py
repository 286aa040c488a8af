"""Kafka messages to ClickHouse columns: a pure function, so that the same messages always give the same rows.

Values are sent to ClickHouse unchanged and converted there (etl/clickhouse/sink.py). Values that cannot be converted
are found here, because one of them would fail the insert of the whole block.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import compress
from typing import Protocol, TypeAlias, cast

import pyarrow as pa
import pyarrow.compute as pc

from etl.events.duplicates import DuplicateWindow
from etl.events.identity import UUID_BYTES, UUID_PATTERN, identities, readable, split
from etl.events.parsing import parse

DIGEST_STEP = 16
# The end of 2099. ClickHouse's DateTime64 allows later times, but no correct clock has them.
SECONDS_MAX = 4_102_444_799
MILLISECONDS_MAX = SECONDS_MAX * 1_000
# Why a message is not a row of `events`.
UNDECODABLE, DUPLICATE, REFUSED = "undecodable", "duplicate", "refused"
Column: TypeAlias = "Sequence[object] | pa.Array"
ColumnReader: TypeAlias = Callable[[pa.RecordBatch], pa.Array]


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
    rejected = [reject(messages[index], UNDECODABLE, error) for index, error in faults.items()]
    every = range(len(messages))
    good: Sequence[int] = [index for index in every if index not in faults] if faults else every
    if misfits := inconvertible(table):
        ids = readable(*(column.take(pa.array(list(misfits), pa.int64())) for column in read_ids(table)))
        for (row, error), each in zip(misfits.items(), ids, strict=True):
            rejected.append(reject(messages[good[row]], UNDECODABLE, error, *each))
        fits = [row for row in range(table.num_rows) if row not in misfits]
        table = table.take(pa.array(fits, pa.int64()))
        good = [good[row] for row in fits]
    columns = [*(read(table) for read in EVENT_COLUMNS.values()), [messages[index].offset() for index in good]]
    return Rows(columns, sorted(rejected, key=offset_of), identities(*read_ids(table)))


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
    reasons |= {offsets[index]: (DUPLICATE, f"repeats offset {first}") for index, first in duplicates.items()}
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


def offset_of(rejected: Rejected) -> int:
    """Return the offset of a message."""
    return rejected.offset


def inconvertible(table: pa.RecordBatch) -> dict[int, str]:
    """Return the rows whose values ClickHouse could not convert, by index, with the field and the problem."""
    misfits: dict[int, str] = {}
    for problem, fits in CONVERTIBLE.items():
        valid = pc.fill_null(fits(table), fill_value=False)
        if not pc.all(valid, min_count=0).as_py():
            for row, is_valid in enumerate(valid.to_pylist()):
                if not is_valid:
                    misfits.setdefault(row, problem)
    return misfits


def top(name: str) -> ColumnReader:
    """Return a reader of a field of EventRecord."""
    return lambda table: table.column(name)


def event(name: str) -> ColumnReader:
    """Return a reader of a field of Event; null where the record has no event."""
    return lambda table: pc.struct_field(table.column("event"), name)


def payload(name: str) -> ColumnReader:
    """Return a reader of a field of Payload; null where the event has no payload."""
    return lambda table: pc.struct_field(table.column("event"), ["payload", name])


def read_ids(table: pa.RecordBatch) -> tuple[pa.Array, pa.Array]:
    """Return the columns of event_ids, and of users as text."""
    return table.column("event_id"), payload("user_id")(table)


def uuid(read: ColumnReader) -> ColumnReader:
    """Return a check that a text is a UUID."""
    return lambda table: pc.match_substring_regex(read(table), UUID_PATTERN)


def up_to(read: ColumnReader, maximum: int) -> ColumnReader:
    """Return a check that a number is from 0 to `maximum`."""
    return lambda table: pc.and_(pc.greater_equal(read(table), 0), pc.less_equal(read(table), maximum))


# The column of ClickHouse, and the reader of its value in the message.
EVENT_COLUMNS: dict[str, ColumnReader] = {
    "event_id": top("event_id"),
    "event": payload("event"),
    "movie_id": payload("movie_id"),
    "user_id": payload("user_id"),
    "event_data": payload("event_data"),
    "event_time": payload("event_timestamp"),
    "language": event("language"),
    "timezone": event("timezone"),
    "ip": event("ip"),
    "version": event("version"),
    "client_data": event("some_client_data"),
    "received_at": top("received_at"),
}
# What is wrong with a row, and the check that fails then.
CONVERTIBLE: dict[str, ColumnReader] = {
    "event.payload is missing": lambda table: pc.is_valid(payload("movie_id")(table)),
    "event_id is not 16 bytes": lambda table: pc.equal(pc.binary_length(table.column("event_id")), UUID_BYTES),
    "event.payload.movie_id is not a UUID": uuid(payload("movie_id")),
    "event.payload.user_id is not a UUID": uuid(payload("user_id")),
    "event.payload.event_timestamp is out of range": up_to(payload("event_timestamp"), SECONDS_MAX),
    "received_at is out of range": up_to(top("received_at"), MILLISECONDS_MAX),
}
