"""The commands of docs/operating, as a new shell runs them against real servers."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from local.settings import ROOT
from tests.support.documents.pages import Command, commands
from tests.support.inputs.events import numbered
from tests.support.processes.operated import TOOL_CLASSES, Operated, operated
from tests.support.processes.system import ingest_stub, send_until_accepted

PAGES = sorted((ROOT / "docs" / "operating").glob("*.md"))
COMMANDS = [(f"{page.name}:{each.line}", each) for page in PAGES for each in commands(page)]
ALONE = [(place, each) for place, each in COMMANDS if not each.not_run and not each.scenario]
STOPPED = "etl stopped"
# The procedures, and the module that follows each.
SCENARIOS = {
    STOPPED: "test_operating_commands",
    "tls": "test_operating_tls",
    "secure": "test_operating_secure",
    "add partitions": "test_operating_partitions",
    **dict.fromkeys(
        ("back up", "restore", "check", "rewind", "bring up to date", "rewind to the file"), "test_operating_backup"
    ),
    **dict.fromkeys(("erase", "check erasure", "drop a month", "time to live"), "test_operating_erasure"),
}


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operated]:
    """Run the system with an etl, and some events in it."""
    with operated(tmp_path_factory.mktemp("operated")) as started:
        started.start_etl()
        with ingest_stub(started.deployment.ingest_address) as stub:
            send_until_accepted(stub, [numbered(number) for number in range(100)])
        started.shell(".venv/bin/ugc-audit --wait 60")
        yield started


def test_every_procedure_is_followed() -> None:
    """Each block that is a step of a procedure belongs to one that a test follows, and the other way round."""
    assert {each.scenario for _, each in COMMANDS if each.scenario} == SCENARIOS.keys()
    for scenario, module in SCENARIOS.items():
        text = (ROOT / "tests" / "integration" / f"{module}.py").read_text(encoding="utf-8")
        assert f'"{scenario}"' in text


def test_only_commands_that_cannot_run_here_are_left_out() -> None:
    """Only commands of programs that are not on this machine, and benchmarks, are left out."""
    left_out = [(place, each) for place, each in COMMANDS if each.not_run]

    programs = re.compile(r"\b(docker|sudo|make bench|helm|kubectl|kafka-acls|clickhouse-client)\b")
    assert [place for place, each in left_out if not programs.search(each.text)] == []


def test_the_classes_of_kafkas_tools() -> None:
    """The runbook names the class behind each of Kafka's scripts that it uses."""
    page = (ROOT / "docs" / "operating" / "runbook.md").read_text(encoding="utf-8")
    named = {
        script: f"org.apache.kafka.tools.{name}" for name, script in re.findall(r"`(\w+)`\s\(`([\w-]+\.sh)`\)", page)
    }
    named["kafka-consumer-groups.sh"] = re.findall(r"^ *java -cp '.*' (\S+) ", page, re.MULTILINE)[0]

    assert named == {script: TOOL_CLASSES[script] for script in re.findall(r"/opt/kafka/bin/(\S+)", page)}


@pytest.mark.parametrize("command", [each for _, each in ALONE], ids=[place for place, _ in ALONE])
def test_commands(command: Command, system: Operated) -> None:
    """Every command of the pages works when pasted; ClickHouse answers none of them with an error."""
    answer = system.shell(command.text)

    assert "DB::Exception" not in answer


def test_commands_while_the_etl_is_stopped(system: Operated) -> None:
    """What moves the group's offsets works once the etl has ended, and afterwards every event is one row again."""
    for place, command in COMMANDS:
        if command.scenario == STOPPED:
            system.stop_etl()
            answer = system.shell(command.text)
            system.start_etl()

            assert re.search(r"^ugc-etl +ugc\.events +\d+ +\d+", answer, re.MULTILINE), f"{place}: {answer}"
            assert "clean: every consumed message is one row" in system.shell(".venv/bin/ugc-audit --wait 60")
