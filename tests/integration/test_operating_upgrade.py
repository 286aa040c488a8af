"""What docs/operating/upgrade.md states about mixed versions of tables and programs, on real servers."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from db.clickhouse.client import ClickHouse
from local.processes.program import running
from tests.support.inputs.events import numbered
from tests.support.processes.loading import SETTINGS, await_rows, identified, load, offsets, write
from tests.support.processes.system import Deployment

WAIT_SECONDS_MAX = 60


@pytest.fixture
def deployment(tmp_path: Path, kafka: str, topic: str, database: str) -> Deployment:
    return Deployment(tmp_path, kafka, topic, database, dict(SETTINGS))


def migrate(deployment: Deployment) -> subprocess.CompletedProcess[str]:
    """Run `ugc-migrate`."""
    program = deployment.program("migrate", "db.migrate")
    return subprocess.run(
        [sys.executable, "-m", "db.migrate"],
        env={**os.environ, **program.environment, "UGC_KAFKA_PARTITIONS": "3"},
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS_MAX,
        check=False,
    )


def test_newer_tables(deployment: Deployment, tables: ClickHouse) -> None:
    """With a column and a migration of a newer version `ugc-migrate` changes nothing, and the etl stores events."""
    tables.rows("ALTER TABLE events ADD COLUMN mood LowCardinality(String)")
    tables.rows("INSERT INTO schema_migrations SELECT '9999_mood.sql', repeat('0', 64), now()")

    done = migrate(deployment)
    write(deployment, [identified(numbered(number)) for number in range(20)])
    load(deployment, tables, 20)

    assert (done.returncode, '"applied": []' in done.stderr) == (0, True), done.stderr
    assert offsets(tables) == list(range(20))
    assert tables.rows("SELECT DISTINCT mood FROM events") == [("",)]


def test_older_tables(deployment: Deployment, tables: ClickHouse) -> None:
    """Without a column that the etl writes, rows wait with code 16 in the log, and are stored once it is there."""
    tables.rows("ALTER TABLE rejected_events DROP COLUMN user_id")
    write(deployment, [b"garbage", *(identified(numbered(number)) for number in range(1, 10))])
    with running(deployment.etl()):
        deadline = time.monotonic() + WAIT_SECONDS_MAX
        while "Code: 16" not in deployment.log("etl"):
            assert time.monotonic() < deadline, deployment.log("etl")
            time.sleep(0.1)
        assert offsets(tables) == []
        tables.rows("ALTER TABLE rejected_events ADD COLUMN user_id Nullable(UUID)")
        await_rows(tables, 10)

    assert (offsets(tables), offsets(tables, "rejected_events")) == (list(range(1, 10)), [0])
