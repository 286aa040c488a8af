"""ClickHouse's errors quote clients' values: whatever bytes these have, the etl stores the error as text."""

from __future__ import annotations

from pathlib import Path

import pytest

from db.clickhouse.client import ClickHouse
from tests.support.inputs.events import numbered
from tests.support.processes.loading import SETTINGS, identified, load, offsets, write
from tests.support.processes.system import Deployment

# Three bytes of a text whose letters have two bytes: the error quotes half a letter.
HALF_A_LETTER = "ALTER TABLE events ADD COLUMN number UInt8 MATERIALIZED toUInt8(substring(event_data, 1, 3))"


@pytest.fixture
def deployment(tmp_path: Path, kafka: str, topic: str, database: str) -> Deployment:
    """Return the deployment of a test."""
    return Deployment(tmp_path, kafka, topic, database, dict(SETTINGS))


def test_an_error_that_is_not_utf8(deployment: Deployment, tables: ClickHouse) -> None:
    """A row whose error quotes half a letter is rejected with the error; the other rows are stored."""
    tables.rows(HALF_A_LETTER)
    events = [numbered(number) for number in range(20)]
    for number, event in enumerate(events):
        event.payload.event_data = "ыы" if number == 7 else "1"
    write(deployment, map(identified, events))
    load(deployment, tables, 20)

    assert offsets(tables, "rejected_events") == [7]
    ((reason, error),) = tables.rows("SELECT reason, error FROM rejected_events")
    assert reason == "refused"
    assert "ы\ufffd" in error
