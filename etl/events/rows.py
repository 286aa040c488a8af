"""Kafka messages to ClickHouse columns: a pure function, so that the same messages always give the same rows.

Values go to ClickHouse as they stand in the message and are converted there (etl/clickhouse/sink.py); what would not
convert is found here, because one such value would fail the insert of all.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import compress
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from etl.clickhouse.native import Column
from etl.events.duplicates import DuplicateWindow
from etl.events.identity import UUID_BYTES, UUID_PATTERN, identities, readable, split
from etl.events.parsing import parse
from etl.kafka.message import Message

DIGEST_STEP = 16
# ClickHouse's DateTime64 reaches further, but no clock that this system believes does.
SECONDS_MAX = 4_102_444_799
MILLISECONDS_MAX = SECONDS_MAX * 1_000
# Why a message is no row of `events`.
UNDECODABLE, DUPLICATE, REFUSED = "undecodable", "duplicate", "refused"


@dataclass(frozen=True)
class Rejected:
    """A message that became no event: why, what it held, and the ids that can be read of it, else empty."""

    offset: int
    reason: str
    error: str
    raw: bytes
    kafka_milliseconds: int
    event_id: bytes = b""
    user_id: bytes = b""


@dataclass(frozen=True)
class Rows:
    """Messages of one batch, each either in `columns` or in `rejected`.

    `columns` are in the order of `EVENT_COLUMNS` with the offsets last, all of one length, and so are `identities`, 32
    bytes each. Identities and offsets are lists, because each of them is looked at; the others stay in Arrow.
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
        return list(self.columns[-1]) if self.columns else []

    def select(self, wanted: Callable[[int], bool]) -> Rows:
        """Return the rows whose offsets are wanted."""
        mask = [wanted(offset) for offset in self.offsets]
        columns = [keep(column, mask) for column in self.columns]
        rejected = [each for each in self.rejected if wanted(each.offset)]
        return Rows(columns, rejected, list(compress(self.identities, mask)))

    def halves(self) -> tuple[Rows, Rows]:
        """Cut the events in the middle; for seeking those that are refused."""
        first, second = self.cut(self.events // 2)
        return first, second

    def cut(self, *places: int) -> list[Rows]:
        """Cut the events before the rows of these numbers."""
        parts = itertools.starmap(slice, itertools.pairwise([0, *places, self.events]))
        return [Rows([column[part] for column in self.columns], [], self.identities[part]) for part in parts]


def keep(column: Column, mask: list[bool]) -> Column:
    """Return the values where the mask is true."""
    if isinstance(column, pa.Array):
        return column.filter(pa.array(mask, pa.bool_()))
    return list(compress(column, mask))


def digest(messages: Sequence[Message]) -> str:
    """Return what tells a batch of the log from another with the same offsets: 8 hexadecimal digits.

    A log that was cut and written again differs up to its end, a recreated one everywhere: the last values and every
    sixteenth tell, at a tenth of the cost of all.
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


def without_repeats(rows: Rows, messages: Sequence[Message], window: DuplicateWindow) -> Rows:
    """Move the events that are repeats among the rejected ones, none being refused; the window takes the batch in."""
    repeats = window.repeats(rows.identities, rows.offsets)
    return set_aside(rows, messages, repeats, {})


def set_aside(rows: Rows, messages: Sequence[Message], repeats: Mapping[int, int], refused: Mapping[int, str]) -> Rows:
    """Reject repeats, given by index with what they repeat, and refused offsets, with their errors."""
    if not repeats and not refused:
        return rows
    offsets = rows.offsets
    reasons = {offset: (REFUSED, error) for offset, error in refused.items()}
    reasons |= {offsets[index]: (DUPLICATE, f"repeats offset {first}") for index, first in repeats.items()}
    by_offset = {message.offset(): message for message in messages if message.offset() in reasons}
    rejected = [
        reject(by_offset[offset], *reasons[offset], *split(identity))
        for offset, identity in zip(offsets, rows.identities, strict=True)
        if offset in reasons
    ]
    kept = rows.select(lambda offset: offset not in reasons)
    return replace(kept, rejected=sorted(kept.rejected + rejected, key=offset_of))


def reject(message: Message, reason: str, error: str, event_id: bytes = b"", user_id: bytes = b"") -> Rejected:
    """Describe a message that becomes no event; its producer's clock may be anything, even absent."""
    milliseconds = min(max(message.timestamp()[1], 0), MILLISECONDS_MAX)
    return Rejected(message.offset(), reason, error, message.value() or b"", milliseconds, event_id, user_id)


def offset_of(rejected: Rejected) -> int:
    """Return where a message stood."""
    return rejected.offset


def inconvertible(table: pa.RecordBatch) -> dict[int, str]:
    """Find the rows whose values ClickHouse could not convert, and name the field."""
    misfits: dict[int, str] = {}
    for problem, fits in CONVERTIBLE.items():
        verdict = pc.fill_null(fits(table), fill_value=False)
        if not pc.all(verdict, min_count=0).as_py():
            for row, well in enumerate(verdict.to_pylist()):
                if not well:
                    misfits.setdefault(row, problem)
    return misfits


def top(name: str) -> Callable[[pa.RecordBatch], Any]:
    """Read a field of EventRecord."""
    return lambda table: table.column(name)


def event(name: str) -> Callable[[pa.RecordBatch], Any]:
    """Read a field of Event; null where the record has no event."""
    return lambda table: pc.struct_field(table.column("event"), name)


def payload(name: str) -> Callable[[pa.RecordBatch], Any]:
    """Read a field of Payload; null where the event has no payload."""
    return lambda table: pc.struct_field(table.column("event"), ["payload", name])


def read_ids(table: pa.RecordBatch) -> tuple[pa.Array, pa.Array]:
    """Read event_ids, and users as text."""
    return table.column("event_id"), payload("user_id")(table)


def uuid(read: Callable[[pa.RecordBatch], Any]) -> Callable[[pa.RecordBatch], Any]:
    """Ask whether a text is a UUID."""
    return lambda table: pc.match_substring_regex(read(table), UUID_PATTERN)


def up_to(read: Callable[[pa.RecordBatch], Any], maximum: int) -> Callable[[pa.RecordBatch], Any]:
    """Ask whether a number is from 0 to `maximum`."""
    return lambda table: pc.and_(pc.greater_equal(read(table), 0), pc.less_equal(read(table), maximum))


# The column of ClickHouse, and where its value stands in the message.
EVENT_COLUMNS: dict[str, Callable[[pa.RecordBatch], Any]] = {
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
CONVERTIBLE: dict[str, Callable[[pa.RecordBatch], Any]] = {
    "event.payload is missing": lambda table: pc.is_valid(payload("movie_id")(table)),
    "event_id is not 16 bytes": lambda table: pc.equal(pc.binary_length(table.column("event_id")), UUID_BYTES),
    "event.payload.movie_id is not a UUID": uuid(payload("movie_id")),
    "event.payload.user_id is not a UUID": uuid(payload("user_id")),
    "event.payload.event_timestamp is out of range": up_to(payload("event_timestamp"), SECONDS_MAX),
    "received_at is out of range": up_to(top("received_at"), MILLISECONDS_MAX),
}
