"""Kafka messages become columns; each message is either an event or a rejected message."""

from __future__ import annotations

import random
import uuid
from typing import Any

import pyarrow as pa
import pytest
from google.protobuf.message import DecodeError
from ugc.v1.event_pb2 import Event, EventRecord

from etl.events.columns import EVENT_COLUMNS, MILLISECONDS_MAX
from etl.events.rows import Column, Rows, decode
from tests.support.inputs.events import documented, numbered, record, valid
from tests.support.inputs.messages import FakeMessage

IDENTITY = uuid.UUID("0192f0c1-7a3b-7c4d-8e5f-6a7b8c9d0e1f").bytes
USER = uuid.UUID("1ec4cd73-2fd5-4f25-af68-b6595d279af2")


def rows(*values: bytes | None) -> Rows:
    return decode([FakeMessage(value, at=100 + index) for index, value in enumerate(values)])


def test_every_field() -> None:
    """The documented event fills every column with its value."""
    decoded = rows(record(documented(), IDENTITY, 1_700_000_000_123))
    (row,) = zip(*map(values, decoded.columns), strict=True)

    assert dict(zip([*EVENT_COLUMNS, "kafka_offset"], row, strict=True)) == {
        "event_id": IDENTITY,
        "event": "some_event",
        "movie_id": USER.bytes,
        "user_id": USER.bytes,
        "event_data": "some_event_data",
        "event_time": 1621932759,
        "language": "RU",
        "timezone": "Europe/Moscow",
        "ip": "192.168.1.1",
        "version": "1.0",
        "client_data": "some_client_data",
        "received_at": 1_700_000_000_123,
        "kafka_offset": 100,
    }
    assert decoded.rejected == []


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (b"garbage", "failed to decode"),
        (None, "no value"),
        (b"", "event.payload is missing"),
        (record(Event(language="RU")), "event.payload is missing"),
        (record(documented(), b"short"), "event_id is not 16 bytes"),
        (record(valid(movie_id="x")), "movie_id is not a UUID"),
        (record(valid(user_id="1ec4cd73-2fd5-4f25-af68-b6595d279af2\n")), "user_id is not a UUID"),
        (record(valid(event_timestamp=2**62)), "event_timestamp is out of range"),
        (record(valid(event_timestamp=-1)), "event_timestamp is out of range"),
        (record(documented(), received_at=2**62), "received_at is out of range"),
    ],
)
def test_rejected(value: bytes | None, words: str) -> None:
    """A message that is not a valid event is rejected with the reason and its bytes; its neighbours are events."""
    decoded = rows(record(numbered(1)), value, record(numbered(2)))
    (rejected,) = decoded.rejected

    assert decoded.offsets == [100, 102]
    assert (rejected.offset, rejected.reason, rejected.raw) == (101, "undecodable", value or b"")
    assert words in rejected.error
    assert rejected.kafka_milliseconds == 1_700_000_000_456


def test_only_rejected() -> None:
    """A batch may consist of rejected messages only."""
    decoded = rows(b"garbage", None, b"\xff")

    assert decoded.events == 0
    assert [each.offset for each in decoded.rejected] == [100, 101, 102]


@pytest.mark.parametrize("seed", range(20))
def test_conservation(seed: int) -> None:
    """Every offset is either an event or rejected, and events agree with protobuf's own decoder."""
    chance = random.Random(seed)
    sent = [mutated(record(reproducible(number)), chance) for number in range(200)]
    decoded = rows(*sent)
    found = dict(zip(decoded.offsets, zip(*map(values, decoded.columns[:-1]), strict=True), strict=True))

    assert sorted([*found, *(each.offset for each in decoded.rejected)]) == list(range(100, 300))
    for offset, row in found.items():
        reference = EventRecord.FromString(sent[offset - 100])
        assert row[0] == reference.event_id
        assert row[2] == uuid.UUID(reference.event.payload.movie_id).bytes
        assert row[10] == reference.event.some_client_data


def reproducible(number: int) -> Event:
    """Return an event without random bytes: the decoders disagree about some mutations, such as unmatched groups."""
    return valid(event_id=str(uuid.UUID(int=number)), movie_id=str(uuid.UUID(int=number)), event_data=f"event {number}")


def values(column: Column) -> list[Any]:
    """Return a column's values as Python objects."""
    return column.to_pylist() if isinstance(column, pa.Array) else list(column)


def mutated(value: bytes, chance: random.Random) -> bytes:
    """Change nothing, a byte, or the length."""
    match chance.randrange(4):
        case 0:
            at = chance.randrange(len(value))
            return value[:at] + bytes([chance.randrange(256)]) + value[at + 1 :]
        case 1:
            return value[: chance.randrange(len(value))]
        case _:
            return value


def test_decoders_agree_on_invalid_messages() -> None:
    """The columnar decoder rejects what protobuf rejects."""
    chance = random.Random(7)
    for _ in range(300):
        value = mutated(record(reproducible(1)), chance)
        try:
            EventRecord.FromString(value)
        except DecodeError:
            assert "failed to decode" in rows(value).rejected[0].error


@pytest.mark.parametrize(
    ("value", "ids"),
    [
        (b"garbage", (b"", b"")),
        (None, (b"", b"")),
        (record(Event(language="RU"), IDENTITY), (IDENTITY, b"")),
        (record(documented(), b"short"), (b"", USER.bytes)),
        (record(valid(movie_id="x"), IDENTITY), (IDENTITY, USER.bytes)),
        (record(valid(user_id="x"), IDENTITY), (IDENTITY, b"")),
        (record(valid(user_id=str(USER).upper(), event_timestamp=-1), IDENTITY), (IDENTITY, USER.bytes)),
    ],
)
def test_ids_of_rejected(value: bytes | None, ids: tuple[bytes, bytes]) -> None:
    """A rejected message has those of its ids that can be read."""
    (rejected,) = rows(record(numbered(1)), value).rejected

    assert (rejected.event_id, rejected.user_id) == ids


@pytest.mark.parametrize("milliseconds", [-(2**63), -1, 2**63 - 1])
def test_times_of_rejected(milliseconds: int) -> None:
    """The timestamp of a rejected message may have any value; the row has one that ClickHouse accepts."""
    (rejected,) = decode([FakeMessage(b"garbage", milliseconds=milliseconds)]).rejected

    assert rejected.kafka_milliseconds == min(max(milliseconds, 0), MILLISECONDS_MAX)
