"""Entries of docs/operating/runbook.md whose trouble is made, followed to its end, on real servers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from local.settings import ROOT
from tests.support.documents.pages import commands
from tests.support.inputs.events import numbered
from tests.support.processes.loading import commit, committed, identified, write
from tests.support.processes.operated import TOPIC, Operated, operated
from tests.support.processes.system import await_equal

RUNBOOK = ROOT / "docs" / "operating" / "runbook.md"
AUDIT = ".venv/bin/ugc-audit --wait 60"
WAIT_SECONDS_MAX = 60


@pytest.fixture
def system(tmp_path: Path) -> Iterator[Operated]:
    """Run the system; ten events of partition 0 are stored, and the etl is stopped."""
    with operated(tmp_path) as started:
        write(started.deployment, [identified(numbered(number)) for number in range(10)])
        started.start_etl()
        started.shell(AUDIT)
        started.stop_etl()
        yield started


def halt(system: Operated, reason: str) -> None:
    """Run an etl until it has halted the partition for a reason."""
    system.start_etl()

    def is_halted() -> bool:
        lines = system.deployment.log("etl").splitlines()
        return any("a partition is halted" in line and reason in line for line in lines)

    await_equal(is_halted, wanted=True)
    system.stop_etl()


def follow(system: Operated, title: str) -> None:
    """Run the commands of an entry that move the group's offsets, and start the etl."""
    page = RUNBOOK.read_text(encoding="utf-8")
    first = page.count("\n", 0, page.index(f"\n### {title}\n")) + 2
    last = first + page[page.index(f"\n### {title}\n") + 1 :].partition("\n### ")[0].count("\n")
    steps = [each.text for each in commands(RUNBOOK) if each.scenario and first < each.line <= last]
    assert steps
    for step in steps:
        system.shell(step)
    system.start_etl()


def test_messages_that_are_gone(system: Operated) -> None:
    """Where retention was shorter than the lag, the entry leaves exactly the lost offsets missing."""
    write(system.deployment, [identified(numbered(number)) for number in range(10, 20)])
    admin = AdminClient({"bootstrap.servers": system.deployment.kafka})
    for future in admin.delete_records([TopicPartition(TOPIC, 0, 13)]).values():
        future.result(WAIT_SECONDS_MAX)

    halt(system, "was stored up to offset 10")
    follow(system, "Messages are gone before they were stored")
    report = system.shell(AUDIT, is_checked=False)

    assert re.findall(r"BREACH topic .*: (.*)", report) == ["offsets 10 to 12"], report
    assert re.findall(r"partition 0: (\d+) missing", report) == ["3"]
    assert "lag 0" in report


def test_a_commit_that_cannot_be_read(system: Operated) -> None:
    """Where somebody committed metadata of another kind, the entry makes every event one row again."""
    offset, _ = committed(system.deployment)
    commit(system.deployment, offset, '{"v":2,"topic":"x"}')
    write(system.deployment, [identified(numbered(number)) for number in range(10, 20)])

    halt(system, "metadata that this version cannot read")
    follow(system, "A commit cannot be read")

    assert "clean: every consumed message is one row of events or rejected_events; lag 0" in system.shell(AUDIT)
