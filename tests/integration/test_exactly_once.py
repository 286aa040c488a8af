"""Each message is exactly one row, on real servers: duplicates, refusals, reset offsets, recreated topics, plans."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from db.clickhouse.client import ClickHouse
from local.processes.program import running
from tests.support.inputs.events import numbered, record, valid
from tests.support.processes.loading import (
    HORIZON,
    SETTINGS,
    await_rows,
    commit,
    committed,
    identified,
    load,
    offsets,
    recreate,
    run_to_its_end,
    write,
)
from tests.support.processes.system import Deployment


@pytest.fixture
def deployment(tmp_path: Path, kafka: str, topic: str, database: str) -> Deployment:
    """Return the deployment of a test."""
    return Deployment(tmp_path, kafka, topic, database, dict(SETTINGS))


def test_duplicates_are_stored_once(deployment: Deployment, tables: ClickHouse) -> None:
    """A duplicate within the horizon is a rejected row, also after a restart; beyond the horizon it is an event."""
    first, second = numbered(1), numbered(2)
    filler = [identified(numbered(10 + number)) for number in range(HORIZON)]
    write(deployment, [identified(first), identified(second), identified(first)])
    load(deployment, tables, 3)
    write(deployment, [identified(second), *filler, identified(first)])
    load(deployment, tables, 3 + 1 + HORIZON + 1)

    assert offsets(tables, "rejected_events") == [2, 3]
    assert tables.rows("SELECT reason, error FROM rejected_events ORDER BY kafka_offset") == [
        ("duplicate", "repeats offset 0"),
        ("duplicate", "repeats offset 1"),
    ]
    # The copy at offset 2 is beyond the horizon of the last message.
    assert tables.rows(f"SELECT count() FROM events WHERE event_id = '{first.event_id}'") == [(2,)]


def test_only_refused_rows_are_rejected(deployment: Deployment, tables: ClickHouse) -> None:
    """A row that ClickHouse refuses is rejected with ClickHouse's code; the rest of the batch is stored."""
    tables.rows("ALTER TABLE events ADD CONSTRAINT no_poison CHECK event != 'poison'")
    events = [numbered(number) for number in range(40)]
    for number in (3, 4, 31):
        events[number].payload.event = "poison"
    write(deployment, map(identified, events))
    load(deployment, tables, 40)

    assert offsets(tables, "rejected_events") == [3, 4, 31]
    assert tables.rows("SELECT DISTINCT reason, error LIKE '%error 469%' FROM rejected_events") == [("refused", 1)]
    assert len(offsets(tables)) == 37
    # A refused event is not stored, so its copy is not a duplicate.
    tables.rows("ALTER TABLE events DROP CONSTRAINT no_poison")
    write(deployment, [identified(events[3])])
    load(deployment, tables, 41)
    assert offsets(tables)[-1] == 40


def test_a_table_that_refuses_everything_stops_the_loader(deployment: Deployment, tables: ClickHouse) -> None:
    """If nearly all rows are refused, the process exits with 1 and the reason, and `rejected_events` stays empty."""
    tables.rows("ALTER TABLE events ADD CONSTRAINT nothing CHECK event = 'nothing'")
    write(deployment, [identified(numbered(number)) for number in range(60)])
    deployment.settings["UGC_ETL_REFUSED_IN_A_ROW_MAX"] = "20"
    status, log = run_to_its_end(deployment)

    assert status == 1
    assert "UGC_ETL_REFUSED_IN_A_ROW_MAX" in log
    assert offsets(tables, "rejected_events") == []
    tables.rows("ALTER TABLE events DROP CONSTRAINT nothing")
    load(deployment, tables, 60)
    assert offsets(tables) == list(range(60))


def test_reset_offsets(deployment: Deployment, tables: ClickHouse) -> None:
    """After the group's offset was reset or lost, rows that are stored already are not inserted again."""
    write(deployment, [identified(numbered(number)) for number in range(250)])
    load(deployment, tables, 250)
    for offset in (0, 120):
        commit(deployment, offset)
        write(deployment, [identified(numbered(number)) for number in range(10)])
        load(deployment, tables, len(offsets(tables)) + 10)

    assert offsets(tables) == list(range(270))


def test_another_group(deployment: Deployment, tables: ClickHouse) -> None:
    """A group without offsets does not insert rows again that another group has stored."""
    write(deployment, [identified(numbered(number)) for number in range(150)])
    load(deployment, tables, 150)
    deployment.settings["UGC_ETL_GROUP"] = f"new-{deployment.topic}"
    write(deployment, [identified(numbered(number)) for number in range(150, 160)])
    load(deployment, tables, 160)

    assert offsets(tables) == list(range(160))


@pytest.mark.parametrize("stored", [0, 3, 10])
def test_an_inherited_plan_is_completed(deployment: Deployment, tables: ClickHouse, stored: int) -> None:
    """Whatever part of a planned batch was stored before its owner died, the other rows are stored once."""
    events = [numbered(number) for number in range(15)]
    write(deployment, map(identified, events[:stored]))
    load(deployment, tables, stored)
    write(deployment, map(identified, events[stored:]))
    _, metadata = committed(deployment)
    deployment.settings["UGC_FAILPOINT"] = "after-plan:kill@1"
    if stored < len(events):
        assert run_to_its_end(deployment)[0] == -9
    offset, plan = committed(deployment)
    assert '"end":14' in plan
    assert offset == stored
    assert metadata != plan
    del deployment.settings["UGC_FAILPOINT"]
    load(deployment, tables, 15)

    assert offsets(tables) == list(range(15))


def test_a_recreated_topic_is_another_topic(deployment: Deployment, tables: ClickHouse) -> None:
    """A recreated topic has another id: its events are stored in addition to those of the old one."""
    with running(deployment.etl()):
        write(deployment, [identified(numbered(number)) for number in range(20)])
        await_rows(tables, 20)
        recreate(deployment)
        write(deployment, [identified(numbered(100 + number)) for number in range(20)])
        await_rows(tables, 40)

    assert offsets(tables) == sorted([*range(20), *range(20)])
    assert tables.rows("SELECT uniqExact(kafka_topic_id) FROM events") == [(2,)]
    assert {(row[-2], row[-1]) for row in tables.rows("SELECT * FROM conservation")} == {(0, 0)}


def test_undecodable_and_duplicate_messages_in_one_batch(deployment: Deployment, tables: ClickHouse) -> None:
    """Bad messages of every kind in one batch are rejected one by one; the good ones are stored."""
    known = numbered(1)
    values: Sequence[bytes | None] = [
        identified(known),
        b"garbage",
        identified(known),
        None,
        record(valid(), b"short"),
        identified(numbered(2)),
    ]
    write(deployment, values)
    load(deployment, tables, len(values))

    assert offsets(tables) == [0, 5]
    assert tables.rows("SELECT kafka_offset, reason FROM rejected_events ORDER BY kafka_offset") == [
        (1, "undecodable"),
        (2, "duplicate"),
        (3, "undecodable"),
        (4, "undecodable"),
    ]


def test_a_failpoint_that_does_not_exist(deployment: Deployment) -> None:
    """A failpoint that does not exist stops the process, with the name of the setting."""
    deployment.settings["UGC_FAILPOINT"] = "nowhere:kill@1"
    status, log = run_to_its_end(deployment)

    assert status == 2
    assert "UGC_FAILPOINT" in log


def test_a_view_that_fails(deployment: Deployment, tables: ClickHouse) -> None:
    """ClickHouse stores a block whose materialized view fails, and returns an error: no row is stored twice."""
    tables.rows("CREATE TABLE numbers (number UInt64) ENGINE = MergeTree ORDER BY number")
    tables.rows("CREATE MATERIALIZED VIEW failing TO numbers AS SELECT toUInt64(event) AS number FROM events")
    write(deployment, [identified(numbered(number)) for number in range(40)])
    load(deployment, tables, 40)

    assert offsets(tables) == list(range(40))
    assert offsets(tables, "rejected_events") == []
    assert tables.rows("SELECT count() FROM numbers") == [(0,)]


def test_timestamps_of_many_months(deployment: Deployment, tables: ClickHouse) -> None:
    """Messages whose timestamps are a hundred months apart are stored: no limit of a block applies."""
    month_milliseconds = 31 * 24 * 3600 * 1000
    write(deployment, [b"garbage"] * 150, milliseconds=lambda number: (1 + number) * month_milliseconds)
    deployment.settings["UGC_ETL_FLUSH_ROWS"] = "1000"
    load(deployment, tables, 150)

    assert offsets(tables, "rejected_events") == list(range(150))
    assert tables.rows("SELECT uniqExact(toYYYYMM(kafka_time)) > 100 FROM rejected_events") == [(1,)]
