"""The commands of docs/operating, as a new shell runs them against real servers."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from local.settings import ROOT
from tests.support.documents.commands import Block, blocks
from tests.support.inputs.events import numbered
from tests.support.processes.operated import Operated, operated
from tests.support.processes.system import ingest_stub, send_until_accepted

PAGES = sorted((ROOT / "docs" / "operating").glob("*.md"))
BLOCKS = [block for page in PAGES for block in blocks(page)]
RUN = [block for block in BLOCKS if not block.not_run and not block.scenario]
STOPPED = "etl stopped"
# The procedures, and the module that follows each.
SCENARIOS = {
    STOPPED: "test_operating_commands",
    **dict.fromkeys(("back up", "restore", "check"), "test_operating_backup"),
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
    assert {block.scenario for block in BLOCKS if block.scenario} == SCENARIOS.keys()
    for scenario, module in SCENARIOS.items():
        text = (ROOT / "tests" / "integration" / f"{module}.py").read_text(encoding="utf-8")
        assert f'"{scenario}"' in text


def test_what_is_not_run_needs_another_machine() -> None:
    """Only commands of programs that are not on this machine are left out."""
    left_out = [block for block in BLOCKS if block.not_run]

    assert [str(block) for block in left_out if not re.search(r"\b(docker|sudo|systemctl)\b", block.text)] == []


@pytest.mark.parametrize("block", RUN, ids=str)
def test_commands(block: Block, system: Operated) -> None:
    """Every command of the pages works when pasted; ClickHouse answers none of them with an error."""
    answer = system.shell(block.text)

    assert "DB::Exception" not in answer


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.scenario == STOPPED], ids=str)
def test_commands_while_the_etl_is_stopped(block: Block, system: Operated) -> None:
    """What moves the group's offsets works once the etl has ended, and afterwards every event is one row again."""
    system.stop_etl()
    answer = system.shell(block.text)
    system.start_etl()

    assert re.search(r"^ugc-etl +ugc\.events +\d+ +\d+", answer, re.MULTILINE), answer
    assert "clean: every consumed message is one row" in system.shell(".venv/bin/ugc-audit --wait 60")
