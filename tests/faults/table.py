"""`python -m tests.faults.table`: writes architecture/faults.md from the results of `make test-faults`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local.settings import ROOT
from tests.support.faults.results import RESULTS

TABLE = ROOT / "architecture" / "faults.md"
COLUMNS = ("fault", "runs", "acknowledged", "stored", "lost", "stored twice", "audit breaches", "failed runs")
INTRODUCTION = """\
# Fault tests: results

This page has the results of the fault tests: real Kafka and ClickHouse, clients that retry every event until it is
acknowledged, and a fault. Afterwards every acknowledged event must be a row, every row an event that was sent, no event
may be stored twice, and `ugc-audit` must be clean. The seed of a run determines when the fault happens.
[tests/faults](../tests/faults) describes each fault.

`make test-faults` writes this page; do not edit it. To repeat a run, use its name and seed:
`FAULT_SEEDS=7 .venv/bin/python -m pytest 'tests/faults/test_failpoints.py::test_killed[7-after-plan]'`.

"""
CONTROL = "control: "
DEAD_MEMBERS = """
In {count} of the runs the broker was restarted once more. After kill -9 Kafka 4.4.0 sometimes answers that the group
does not exist, and then loads it with its former members, whose sessions never end: their partitions have no owner
until the broker is restarted ([runbook](../docs/operating/runbook.md#partitions-have-no-owner)).
"""
CONTROLS = """
The tests can fail: they detect an etl without one of its precautions.

"""
NOTE = """
*Stored* counts different events. Clients retry some batches after they were acknowledged; the duplicates are rows of
`rejected_events`. A topic that is deleted takes acknowledged events with it that were not loaded yet ({excused} events
here), and events sent meanwhile may be in both topics. Nothing else is excused.
"""


@dataclass
class Row:
    """All runs of one fault."""

    fault: str
    runs: Sequence[dict[str, Any]]

    def cells(self) -> list[str]:
        """Return the cells of the table in the order of COLUMNS."""
        judged = [run for run in self.runs if "failed" not in run]
        numbers = [sum(run[name] for run in judged) for name in ("acknowledged", "stored", "lost", "doubled")]
        breaches = sum(len(run["audit"]) + run["strangers"] for run in judged)
        counts = [len(self.runs), *numbers, breaches, len(self.runs) - len(judged)]
        return [self.fault, *(f"{count:,}" for count in counts)]


def main() -> None:
    """Write the page; status 1 without results, or if a run was not clean."""
    runs = read(RESULTS)
    if not runs:
        sys.stderr.write(f"no results in {RESULTS}: run `make test-faults`\n")
        sys.exit(1)
    TABLE.write_text(page(runs), encoding="utf-8")
    surprising = [run for run in runs if is_clean(run) == is_control(run)]
    sys.stdout.write(f"{len(runs)} runs, {len(surprising)} with an unexpected result: {TABLE.relative_to(ROOT)}\n")
    sys.exit(1 if surprising else 0)


def read(results: Path) -> list[dict[str, Any]]:
    """Return the runs in their order."""
    return [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []


def page(runs: Sequence[dict[str, Any]]) -> str:
    """Return the page: the faults and their sum, then the controls, which must not be clean."""
    faults = [run for run in runs if not is_control(run)]
    excused = sum(run.get("excused", 0) for run in faults)
    restarted = sum(bool(run.get("broker_restarts")) for run in faults)
    notes = NOTE.format(excused=f"{excused:,}") + (DEAD_MEMBERS.format(count=restarted) if restarted else "")
    total = [f"**{cell}**" for cell in Row("all", faults).cells()]
    controls = table([run for run in runs if is_control(run)])
    return INTRODUCTION + table(faults) + line(total) + notes + CONTROLS + controls


def table(runs: Sequence[dict[str, Any]]) -> str:
    """Return a line for each fault, in the order of their first runs."""
    names = list(dict.fromkeys(run["fault"] for run in runs))
    rows = [Row(name.removeprefix(CONTROL), [run for run in runs if run["fault"] == name]) for name in names]
    lines = [COLUMNS, ["---", *["---:"] * (len(COLUMNS) - 1)], *(row.cells() for row in rows)]
    return "".join(map(line, lines))


def is_clean(run: dict[str, Any]) -> bool:
    """Whether a run was judged, and no event was lost or stored twice."""
    return "failed" not in run and not any(run[name] for name in ("lost", "doubled", "strangers", "audit"))


def is_control(run: dict[str, Any]) -> bool:
    """Whether the etl of a run lacks a precaution."""
    return str(run["fault"]).startswith(CONTROL)


def line(cells: Iterable[str]) -> str:
    """Return a line of a Markdown table."""
    return f"| {' | '.join(cells)} |\n"


if __name__ == "__main__":
    main()
