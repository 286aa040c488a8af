"""Values that an altered table does not accept: only their rows are rejected."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import pytest
from ugc.v1.event_pb2 import Event

from db.clickhouse.client import ClickHouse
from local.processes.program import running
from tests.support.inputs.events import numbered
from tests.support.processes.loading import SETTINGS, await_rows, identified, load, offsets, write
from tests.support.processes.system import Deployment

ROWS = 40
BAD = (0, 3, 4, 31, 39)
MANY_ROWS, MANY_BAD = 50_000, 447


@dataclasses.dataclass(frozen=True)
class Change:
    """An operator's change of the table; it does not accept events of kind "bad" with this event_data any more."""

    name: str
    statements: tuple[str, ...]
    code: int
    data: str = "some_event_data"
    good: str = "{}"


DICTIONARY = (
    "CREATE TABLE names (id UInt64, name String) ENGINE = MergeTree ORDER BY id",
    "INSERT INTO names SELECT 1, 'one'",
    "CREATE DICTIONARY by_id (id UInt64, name String) PRIMARY KEY id LAYOUT(FLAT()) LIFETIME(0) SOURCE({source})",
)
CHANGES = [
    Change("constraint", ("ADD CONSTRAINT c CHECK event != 'bad'",), 469),
    Change("materialized JSON", ("ADD COLUMN doc JSON MATERIALIZED CAST(event_data AS JSON)",), 117),
    Change("materialized JSON, cut", ("ADD COLUMN doc JSON MATERIALIZED CAST(event_data AS JSON)",), 117, '{"a":'),
    Change("default, division", ("ADD COLUMN n UInt32 DEFAULT intDiv(100, length(event_data))",), 153, ""),
    Change("materialized base64", ("ADD COLUMN b String MATERIALIZED base64Decode(event_data)",), 117, "!", "QUJD"),
    Change("materialized number", ("ADD COLUMN n UInt64 MATERIALIZED toUInt64(event_data)",), 6, "x", "17"),
    Change("materialized throwIf", ("ADD COLUMN n UInt8 MATERIALIZED throwIf(event_data = 'x', 'no x')",), 395, "x"),
    Change("materialized regexp", ("ADD COLUMN n UInt8 MATERIALIZED match('text', event_data)",), 427, "(", "a"),
    Change("materialized date", ("ADD COLUMN d Date MATERIALIZED toDate(event_data)",), 38, "1", "2026-11-27"),
    Change(
        "materialized tuple of arrays",
        ("ADD COLUMN a Array(UInt8) MATERIALIZED CAST(event_data, 'Array(UInt8)')",),
        130,
        "x",
        "[1]",
    ),
    Change("enum", ("MODIFY COLUMN event_data Enum8('{}' = 1, 'fits' = 2)",), 691),
    Change("low cardinality number", ("MODIFY COLUMN event_data UInt64",), 6, "x", "17"),
    Change("fixed string", ("MODIFY COLUMN event_data FixedString(4)",), 131),
    Change("index", ("ADD INDEX i (toUInt32(event_data)) TYPE minmax GRANULARITY 1",), 6, "x", "17"),
    Change("projection", ("ADD PROJECTION p (SELECT event, sum(toUInt32(event_data)) GROUP BY event)",), 6, "x", "17"),
    Change("TTL", ("MODIFY TTL toDateTime(received_at) + toIntervalDay(toUInt16(event_data))",), 6, "x", "60000"),
    Change(
        "dictionary",
        ("ADD COLUMN n String MATERIALIZED dictGet('{database}.by_id', 'name', toUInt64(event_data))",),
        6,
        "x",
        "1",
    ),
]


@pytest.fixture
def deployment(tmp_path: Path, kafka: str, topic: str, database: str) -> Deployment:
    return Deployment(tmp_path, kafka, topic, database, dict(SETTINGS))


def events(change: Change, count: int = ROWS, bad: tuple[int, ...] = BAD) -> list[Event]:
    made = [numbered(number) for number in range(count)]
    for number, event in enumerate(made):
        event.payload.event_data = change.data if number in bad else change.good
        if number in bad:
            event.payload.event = "bad"
    return made


def alter(tables: ClickHouse, change: Change) -> None:
    ((database,),) = tables.rows("SELECT currentDatabase()")
    for statement in DICTIONARY if change.name == "dictionary" else ():
        tables.rows(statement.replace("{source}", "CLICKHOUSE(TABLE 'names')"))
    for statement in change.statements:
        tables.rows(f"ALTER TABLE events {statement.replace('{database}', str(database))}")


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.name)
def test_only_the_refused_row_is_rejected(deployment: Deployment, tables: ClickHouse, change: Change) -> None:
    """Each refused row is rejected with ClickHouse's error; every other row is stored."""
    alter(tables, change)
    write(deployment, map(identified, events(change)))
    load(deployment, tables, ROWS)

    assert offsets(tables, "rejected_events") == list(BAD)
    assert offsets(tables) == [number for number in range(ROWS) if number not in BAD]
    errors = tables.rows("SELECT DISTINCT reason, extract(error, 'error ([0-9]+)') FROM rejected_events")
    assert errors == [("refused", str(change.code))]


@pytest.mark.parametrize("change", CHANGES[:4], ids=lambda change: change.name)
def test_a_bad_event_alone_in_its_batch(deployment: Deployment, tables: ClickHouse, change: Change) -> None:
    """Without other rows in the batch or the table, accepted synthetic rows show that the event is at fault."""
    alter(tables, change)
    with running(deployment.etl()):
        write(deployment, [identified(each) for each in events(change, 1, (0,))])
        await_rows(tables, 1)
        write(deployment, [identified(numbered(number)) for number in range(1, 6)])
        await_rows(tables, 6)

    assert offsets(tables, "rejected_events")[0] == 0


def test_a_table_that_accepts_nothing(deployment: Deployment, tables: ClickHouse) -> None:
    """If not even good rows are accepted, nothing is rejected; the events are stored after the table is corrected."""
    tables.rows("ALTER TABLE events ADD COLUMN n UInt8 MATERIALIZED throwIf(length(event) >= 0, 'nothing fits')")
    write(deployment, [identified(numbered(number)) for number in range(ROWS)])
    with running(deployment.etl()) as child:
        log = child.program.log
        deadline = time.monotonic() + 60
        while "accepts no row, not even a good one" not in log.read_text(encoding="utf-8"):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert offsets(tables, "rejected_events") == []
        tables.rows("ALTER TABLE events DROP COLUMN n")
        await_rows(tables, ROWS)

    assert offsets(tables) == list(range(ROWS))
    assert '"partition": 0' in log.read_text(encoding="utf-8")


def test_a_value_that_needs_too_much_memory(deployment: Deployment, tables: ClickHouse) -> None:
    """An event whose computed value exceeds the limit of a query is rejected; the others are stored."""
    tables.rows("ALTER TABLE events ADD COLUMN n UInt64 MATERIALIZED length(range(toUInt64(event_data)))")
    limited = dataclasses.replace(deployment, database=f"{deployment.database}?max_memory_usage=200000000")
    made = [numbered(number) for number in range(ROWS)]
    for number, event in enumerate(made):
        event.payload.event_data = "90000000" if number in BAD else "17"
    write(deployment, map(identified, made))
    load(limited, tables, ROWS)

    assert offsets(tables, "rejected_events") == list(BAD)
    assert offsets(tables) == [number for number in range(ROWS) if number not in BAD]
    errors = tables.rows("SELECT DISTINCT reason, extract(error, 'error ([0-9]+)') FROM rejected_events")
    assert errors == [("refused", "241")]


def test_a_long_search(deployment: Deployment, tables: ClickHouse) -> None:
    """During the search for 447 bad rows of 50,000, another partition's events are stored; the search ends."""
    tables.rows("ALTER TABLE events ADD CONSTRAINT c CHECK event != 'bad'")
    deployment.settings["UGC_ETL_FLUSH_ROWS"] = "50000"
    bad = tuple(range(17, MANY_ROWS, MANY_ROWS // MANY_BAD))[:MANY_BAD]
    kinds = {number: numbered(number) for number in range(MANY_ROWS)}
    for number in bad:
        kinds[number].payload.event = "bad"
    write(deployment, map(identified, kinds.values()))
    with running(deployment.etl()) as child:
        deadline = time.monotonic() + 60
        log = child.program.log
        while "searching for rows that ClickHouse refuses" not in log.read_text(encoding="utf-8"):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        write(deployment, [identified(numbered(MANY_ROWS))], partition=1)
        query = "SELECT kafka_partition, count() FROM events GROUP BY ALL ORDER BY ALL"
        while tables.rows(query) == []:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        first = tables.rows(query)
        await_rows(tables, MANY_ROWS + 1)

    assert first == [(1, 1)]
    assert tables.rows("SELECT count(), uniqExact(kafka_offset) FROM rejected_events") == [(MANY_BAD, MANY_BAD)]
    assert '"found": 447' in log.read_text(encoding="utf-8")
