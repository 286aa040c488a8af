"""The columns of `events`: where each value is in the message, and which values ClickHouse would not accept. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from etl.events.identity import UUID_BYTES, UUID_PATTERN, packed

# The end of 2099. ClickHouse's DateTime64 allows later times, but no correct clock has them.
SECONDS_MAX = 4_102_444_799
MILLISECONDS_MAX = SECONDS_MAX * 1_000
# Columns of UUIDs: fields of Payload with text, and the columns with 16 bytes that `convert` adds.
MOVIE, USER = "movie_id", "user_id"
ColumnReader: TypeAlias = Callable[[pa.RecordBatch], pa.Array]


def convert(table: pa.RecordBatch) -> pa.RecordBatch | None:
    """Add the columns of UUIDs with 16 bytes each; None if there is a row that `inconvertible` names."""
    if not all(pc.all(pc.fill_null(fits(table), fill_value=False), min_count=0).as_py() for fits in COMPARISONS):
        return None
    for name in NOT_UUIDS:
        column = packed(payload(name)(table))
        if column is None:
            return None
        table = table.append_column(name, column)
    return table


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
    return table.column("event_id"), payload(USER)(table)


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
    "movie_id": top(MOVIE),
    "user_id": top(USER),
    "event_data": payload("event_data"),
    "event_time": payload("event_timestamp"),
    "language": event("language"),
    "timezone": event("timezone"),
    "ip": event("ip"),
    "version": event("version"),
    "client_data": event("some_client_data"),
    "received_at": top("received_at"),
}
NOT_UUIDS = {name: f"event.payload.{name} is not a UUID" for name in (MOVIE, USER)}
# What is wrong with a row, and the check that fails then. The first one is the reason that is stored.
CONVERTIBLE: dict[str, ColumnReader] = {
    "event.payload is missing": lambda table: pc.is_valid(payload(MOVIE)(table)),
    "event_id is not 16 bytes": lambda table: pc.equal(pc.binary_length(table.column("event_id")), UUID_BYTES),
    **{problem: uuid(payload(name)) for name, problem in NOT_UUIDS.items()},
    "event.payload.event_timestamp is out of range": up_to(payload("event_timestamp"), SECONDS_MAX),
    "received_at is out of range": up_to(top("received_at"), MILLISECONDS_MAX),
}
# Every check but those that `packed` makes.
COMPARISONS = [fits for problem, fits in CONVERTIBLE.items() if problem not in NOT_UUIDS.values()]
