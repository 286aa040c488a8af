"""Logs that do not hold what was committed: their partition is halted, and the others go on."""

from __future__ import annotations

from pathlib import Path

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from db.clickhouse.client import ClickHouse
from local.processes.program import running
from tests.support.inputs.events import numbered
from tests.support.processes.loading import (
    SETTINGS,
    WAIT_SECONDS_MAX,
    commit,
    committed,
    identified,
    load,
    run_to_its_end,
    write,
)
from tests.support.processes.system import Deployment, await_equal


@pytest.fixture
def deployment(tmp_path: Path, kafka: str, topic: str, database: str) -> Deployment:
    """Return the deployment of a test."""
    return Deployment(tmp_path, kafka, topic, database, dict(SETTINGS))


HALTED = "a partition is halted, the others go on"


def log_when_halted(deployment: Deployment, tables: ClickHouse) -> str:
    """Run an etl until it halts partition 0, and has loaded another one; return its log."""
    program = deployment.etl()
    with running(program):
        await_equal(lambda: HALTED in program.log.read_text(encoding="utf-8"), wanted=True)
        write(deployment, [identified(numbered(1_000))], partition=1)
        await_equal(lambda: tables.rows("SELECT count() FROM events WHERE kafka_partition = 1"), [(1,)])
    return program.log.read_text(encoding="utf-8")


def run_with_another_plan(deployment: Deployment, tables: ClickHouse, planned: str, instead: str) -> str:
    """Commit a changed plan for the offsets 5 to 9, and run an etl that inherits it; return its log."""
    write(deployment, [identified(numbered(number)) for number in range(5)])
    load(deployment, tables, 5)
    write(deployment, [identified(numbered(number)) for number in range(5, 10)])
    deployment.settings["UGC_FAILPOINT"] = "after-plan:kill@1"
    assert run_to_its_end(deployment)[0] == -9
    del deployment.settings["UGC_FAILPOINT"]
    offset, plan = committed(deployment)
    assert planned in plan
    commit(deployment, offset, plan.replace(planned, instead))
    return log_when_halted(deployment, tables)


def test_a_plan_that_does_not_fit_the_log(deployment: Deployment, tables: ClickHouse) -> None:
    """A plan with another number of messages than the log halts its partition, which the error names."""
    log = run_with_another_plan(deployment, tables, '"rows":5', '"rows":6')

    assert "partition 0" in log
    assert "does not fit the log" in log
    assert tables.rows("SELECT max(kafka_offset) FROM events WHERE kafka_partition = 0") == [(4,)]


def test_deleted_messages(deployment: Deployment, tables: ClickHouse) -> None:
    """If messages were deleted before they were stored, their partition is halted, and the error names the offsets."""
    write(deployment, [identified(numbered(number)) for number in range(5)])
    load(deployment, tables, 5)
    write(deployment, [identified(numbered(number)) for number in range(5, 10)])
    admin = AdminClient({"bootstrap.servers": deployment.kafka})
    for future in admin.delete_records([TopicPartition(deployment.topic, 0, 8)]).values():
        future.result(WAIT_SECONDS_MAX)
    log = log_when_halted(deployment, tables)

    assert "partition 0 was stored up to offset 5, but the log holds 8 to 9" in log


def test_a_plan_beyond_the_log(deployment: Deployment, tables: ClickHouse) -> None:
    """A plan for messages that the log does not have halts its partition instead of waiting for them."""
    log = run_with_another_plan(deployment, tables, '"end":9', '"end":10')

    assert "ends beyond the log, which holds offsets up to 9" in log
