"""`python -m tests.cluster.table`: writes architecture/cluster.md from the results of `make test-cluster`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from local.settings import ROOT
from tests.support.cluster.results import RESULTS, Result, read
from tests.support.cluster.watch import LATE_SECONDS

TABLE = ROOT / "architecture" / "cluster.md"
COLUMNS = (
    "scenario",
    "acknowledged",
    "lost",
    "doubled",
    "failed calls",
    "seconds of client errors",
    "longest seconds without an acknowledgement",
    "seconds until healed",
    "seconds until rows flow",
)
INTRODUCTION = f"""\
# Cluster tests: results

This page has the results of the [cluster tests](../tests/cluster/README.md): three Kafka brokers, ClickHouse with 2
shards of 2 replicas, two ingest, a gateway and two etl, under 200 events a second. Four clients send batches of 25
through the gateway and retry each event until it is acknowledged; 5 % of the batches are sent once more after that.

`make test-cluster TABLE=1` writes this page; do not edit it. The tests assert that nothing is lost or doubled, and
which calls and rows go on during a fault. They assert no seconds: those below are of the last
run of each scenario, on two cores that other programs used at the same time.

- *Failed calls* are those after which events were sent again. *Seconds of client errors* pass from the beginning of the
  first of them to the end of the last.
- *Seconds until healed* pass from the fault until the test begins to undo it.
- *Seconds until rows flow* pass from the fault until no message is older than {LATE_SECONDS:g} s that no replica holds,
  for the last time; `-` means that there never was one. Where rows had to wait until the fault was undone, that time is
  included.

"""
FAILED = """
Scenarios whose last run failed:

"""


def main() -> None:
    """Write the page; status 1 without results."""
    results = list(read(RESULTS))
    if not results:
        sys.stderr.write(f"no results in {RESULTS}: run `make test-cluster`\n")
        sys.exit(1)
    TABLE.write_text(page(results), encoding="utf-8")
    sys.stdout.write(f"{len(results)} scenarios: {TABLE.relative_to(ROOT)}\n")


def page(results: Sequence[Result]) -> str:
    """Return the page: a line for each scenario, of its last run, their sum, and the scenarios that failed."""
    results = list({each.scenario: each for each in results}.values())
    lines = [COLUMNS, ["---", *["---:"] * (len(COLUMNS) - 1)], *map(cells, results), total(results)]
    failed = [f"- {each.scenario}: {first_line(each.failure)}\n" for each in results if each.failure]
    return INTRODUCTION + "".join(map(line, lines)) + ((FAILED + "".join(failed)) if failed else "")


def cells(result: Result) -> list[str]:
    """Return the cells of a scenario, in the order of COLUMNS."""
    counts = [result.lost, result.doubled] if result.is_judged else ["not judged", "not judged"]
    return [
        result.scenario,
        f"{result.acknowledged:,}",
        *map(str, counts),
        str(result.failed_calls),
        f"{result.error_seconds:g}",
        f"{result.silent_seconds:g}",
        optional(result.heal_seconds),
        optional(result.late_until_seconds),
    ]


def total(results: Sequence[Result]) -> list[str]:
    """Return the cells of the last line."""
    judged = [each for each in results if each.is_judged]
    lost, doubled = sum(each.lost for each in judged), sum(each.doubled for each in judged)
    sums = [f"{sum(each.acknowledged for each in results):,}", str(lost), str(doubled)]
    calls = str(sum(each.failed_calls for each in results))
    return [f"**{cell}**" if cell else "" for cell in ("all", *sums, calls, "", "", "", "")]


def optional(seconds: float | None) -> str:
    """Return seconds, or a dash."""
    return "-" if seconds is None else f"{seconds:g}"


def first_line(text: str) -> str:
    """Return the beginning of a failure."""
    return text.splitlines()[0]


def line(row: Iterable[str]) -> str:
    """Return a line of a Markdown table."""
    return f"| {' | '.join(row)} |\n"


if __name__ == "__main__":
    main()
