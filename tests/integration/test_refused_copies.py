"""Copies of events that ClickHouse refuses are not duplicates, for the same owner and for the next."""

from __future__ import annotations

from pathlib import Path

import pytest
from ugc.v1.event_pb2 import Event

from db.clickhouse.client import ClickHouse
from tests.support.inputs.events import numbered
from tests.support.processes.loading import SETTINGS, identified, load, offsets, write
from tests.support.processes.system import Deployment


@pytest.fixture
def deployment(tmp_path: Path, kafka: str, topic: str, database: str) -> Deployment:
    return Deployment(tmp_path, kafka, topic, database, dict(SETTINGS))


def copies(*kinds: str) -> list[bytes]:
    """Return records of one event with these kinds."""
    first, made = numbered(7), []
    for kind in kinds:
        event = Event.FromString(first.SerializeToString())
        event.payload.event = kind
        made.append(event)
    return [identified(event) for event in made]


@pytest.mark.parametrize("batches", [[5], [1, 4], [2, 3], [1, 1, 1, 1, 1]], ids=str)
def test_duplicates_do_not_depend_on_batches(deployment: Deployment, tables: ClickHouse, batches: list[int]) -> None:
    """The first copy that ClickHouse accepts is the event, whatever the batches and the owners are."""
    tables.rows("ALTER TABLE events ADD CONSTRAINT c CHECK event != 'bad'")
    log, stored = copies("bad", "bad", "good", "bad", "good"), 0
    for count in batches:
        write(deployment, log[stored : stored + count])
        stored += count
        load(deployment, tables, stored)

    assert offsets(tables) == [2]
    reasons = tables.rows("SELECT kafka_offset, reason FROM rejected_events ORDER BY kafka_offset")
    assert reasons == [(0, "refused"), (1, "refused"), (3, "duplicate"), (4, "duplicate")]
