"""The identity of an event on real servers: its event_id and its user, whatever else is in the messages."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from db.clickhouse.client import ClickHouse
from local.processes.program import running
from tests.support.inputs.events import numbered, record, valid
from tests.support.inputs.protobuf_messages import MessageMaker
from tests.support.load.meter import peak_bytes
from tests.support.processes.loading import SETTINGS, await_rows, identified, load, offsets, write
from tests.support.processes.system import Deployment

STRUCTURED = 5_000
# 130 MB of messages.
LARGE_REPEATS, OPENING_BYTES_MAX = 2_000, 32_000_000
ANNA, BORIS = uuid.UUID(int=0xABCDEF << 100), uuid.UUID(int=0xABCDEE << 100)
KEY = uuid.UUID("0192a3b4-c5d6-7e8f-9a0b-1c2d3e4f5a6b")
# Nested deeper than Python's parser allows; the etl's decoder accepts the message.
NESTED_GROUPS = b"\xa3\x06" * 101 + b"\xa4\x06" * 101
MISMATCHED_GROUPS = b"\xa3\x06\xac\x06"
REJECTED = "SELECT kafka_offset, reason, event_id, user_id FROM rejected_events ORDER BY kafka_offset"


@pytest.fixture
def deployment(tmp_path: Path, kafka: str, topic: str, database: str) -> Deployment:
    """Return the deployment of a test."""
    return Deployment(tmp_path, kafka, topic, database, dict(SETTINGS))


def of(user: str, key: uuid.UUID = KEY) -> bytes:
    """Return the record of a user's event."""
    return record(valid(user_id=user), key.bytes)


@pytest.mark.parametrize("restarts", [False, True])
def test_two_users(deployment: Deployment, tables: ClickHouse, restarts: bool) -> None:
    """Two users' events with one event_id are two rows; a user's copy in any case is a duplicate, also later."""
    first = [of(str(ANNA)), of(str(BORIS)), of(str(ANNA).upper())]
    then = [of(str(BORIS).upper()), of(str(BORIS)), of(str(ANNA)), of(str(BORIS), uuid.uuid4())]
    if restarts:
        write(deployment, first)
        load(deployment, tables, len(first))
        write(deployment, then)
    else:
        write(deployment, first + then)
    load(deployment, tables, len(first + then))

    assert tables.rows("SELECT kafka_offset, user_id FROM events ORDER BY kafka_offset") == [
        (0, ANNA),
        (1, BORIS),
        (6, BORIS),
    ]
    assert tables.rows(REJECTED) == [
        (2, "duplicate", KEY, ANNA),
        (3, "duplicate", KEY, BORIS),
        (4, "duplicate", KEY, BORIS),
        (5, "duplicate", KEY, ANNA),
    ]


@pytest.mark.parametrize("groups", [NESTED_GROUPS, MISMATCHED_GROUPS], ids=["nested", "mismatched"])
def test_poison(deployment: Deployment, tables: ClickHouse, groups: bytes) -> None:
    """Messages that another parser rejects are rows, and their duplicates are found after every restart."""
    event = numbered(1)
    poison = identified(event) + groups
    for number in range(3):
        write(deployment, [poison])
        load(deployment, tables, number + 1)

    assert offsets(tables) == [0]
    identity = (uuid.UUID(event.event_id), uuid.UUID(event.payload.user_id))
    assert tables.rows(REJECTED) == [(1, "duplicate", *identity), (2, "duplicate", *identity)]
    assert tables.rows("SELECT DISTINCT raw = unhex(%(raw)s) FROM rejected_events", {"raw": poison.hex()}) == [(1,)]


def test_ids_of_undecodable_messages(deployment: Deployment, tables: ClickHouse) -> None:
    """Undecodable messages keep the ids that can be read, and a later event with these ids is not a duplicate."""
    event = valid(user_id=str(ANNA))
    late = record(valid(user_id=str(ANNA), event_timestamp=2**40), KEY.bytes)
    write(deployment, [late, b"garbage", record(event, b"short"), record(valid(user_id="x"), KEY.bytes), None])
    load(deployment, tables, 5)
    write(deployment, [record(event, KEY.bytes)])
    load(deployment, tables, 6)

    assert offsets(tables) == [5]
    assert tables.rows(REJECTED) == [
        (0, "undecodable", KEY, ANNA),
        (1, "undecodable", None, None),
        (2, "undecodable", None, ANNA),
        (3, "undecodable", KEY, None),
        (4, "undecodable", None, None),
    ]


def test_structured_messages(deployment: Deployment, tables: ClickHouse) -> None:
    """Thousands of unusual messages are one row each, and the next owner finds all duplicates."""
    maker = MessageMaker(seed=1)
    values = [maker.record(event) for event in maker.events(STRUCTURED)]
    deployment.settings |= {"UGC_ETL_DUPLICATE_WINDOW": "100000", "UGC_ETL_FLUSH_ROWS": "1000"}
    write(deployment, values)
    load(deployment, tables, len(values))
    stored = len(offsets(tables))
    write(deployment, values)
    load(deployment, tables, 2 * len(values))

    assert STRUCTURED / 10 < stored == len(offsets(tables))
    assert sorted(offsets(tables) + offsets(tables, "rejected_events")) == list(range(2 * len(values)))
    reasons = (
        "SELECT reason, count() FROM rejected_events WHERE kafka_offset >= %(begin)s GROUP BY reason ORDER BY reason"
    )
    again = dict(tables.rows(reasons, {"begin": len(values)}))
    assert again.keys() == {"duplicate", "undecodable"}
    assert again["duplicate"] >= stored


def test_messages_that_could_crash_the_process(deployment: Deployment, tables: ClickHouse) -> None:
    """Messages that exhaust the decoder's stack or make it panic are rejected; their neighbours are stored."""
    deep = [
        identified(numbered(2)) + b"\x0b" * 900_000,
        identified(numbered(3)) + b"\x0b" * 400_000 + b"\x0c" * 400_000,
    ]
    # A length just below 2**64.
    immense = b"\x12" + b"\xff" * 9 + b"\x01"
    write(
        deployment,
        [identified(numbered(1)), *deep, immense, identified(numbered(4)) + immense, identified(numbered(5))],
    )
    load(deployment, tables, 6)

    assert offsets(tables) == [0, 5]
    assert tables.rows(REJECTED) == [(offset, "undecodable", None, None) for offset in range(1, 5)]


def test_large_duplicates(deployment: Deployment, tables: ClickHouse) -> None:
    """A new owner reads only the ids of large duplicates, so its memory does not grow with their messages."""
    event = valid(user_id=str(ANNA), event_data="x" * 32_768, some_client_data="y" * 32_000)
    deployment.settings |= {"UGC_ETL_DUPLICATE_WINDOW": "100000", "UGC_ETL_FLUSH_ROWS": "1000"}
    with running(deployment.etl()) as etl:
        write(deployment, [identified(numbered(1))])
        await_rows(tables, 1)
        before = peak_bytes(etl.process.pid)
    write(deployment, [record(event, KEY.bytes)] * LARGE_REPEATS)
    load(deployment, tables, 1 + LARGE_REPEATS)
    with running(deployment.etl()) as etl:
        write(deployment, [identified(numbered(2))])
        await_rows(tables, 2 + LARGE_REPEATS)
        after = peak_bytes(etl.process.pid)

    assert tables.rows("SELECT sum(length(raw)) > 128000000 FROM rejected_events") == [(1,)]
    assert after - before < OPENING_BYTES_MAX


def test_duplicates_without_ids(deployment: Deployment, tables: ClickHouse) -> None:
    """Duplicates that were stored before their ids had columns do not stop the etl."""
    write(deployment, [of(str(ANNA)), of(str(ANNA)), of(str(ANNA))])
    load(deployment, tables, 3)
    tables.rows("ALTER TABLE rejected_events UPDATE event_id = NULL, raw = 'x' WHERE 1 SETTINGS mutations_sync = 2")
    write(deployment, [of(str(ANNA))])
    load(deployment, tables, 4)

    assert offsets(tables) == [0]
