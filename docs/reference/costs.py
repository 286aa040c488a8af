"""The reference page of the costs, from the last results that were kept."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.support.benchmarks.machine import Machine
from tests.support.benchmarks.report import KEPT, THIS_PROJECT, Comparison, Figure, Report, read
from tests.support.benchmarks.tables import VERDICTS, number

INTRODUCTION = """\
# Costs

This page has what the system costs, as `make bench KEEP=1` measured it: CPU of whole processes, rates and latencies,
beside the services and the empty handlers of [tests/benchmarks/peers](../../tests/benchmarks/peers/naive.py). Values of
one table were measured in one run, in turn, and are medians of its rounds. Trust their ratios more than the values,
which differ from machine to machine and from day to day. How to measure is on the page of the
[benchmarks](../../tests/benchmarks/README.md).
"""
NO_RESULTS = "\nNo results are kept yet.\n"
AIMS = """\
## Aims

Each aim is a ratio to a peer: FastAPI and aiokafka are a service of 60 lines that waits for the acknowledgement of all
replicas and has an idempotent producer; an empty handler does nothing but answer. For comparison, kafka-pixy, a proxy
in Go that neither parses nor validates what it passes on, costs 0.2 times as much as that service; this value was
measured once, apart from these runs. The CPU of the broker and of the load generator is in no sum.

![The ratio to the peer in each row, on a logarithmic scale, and the aim](costs.svg)
"""
# The sections in their order; a report without a title here follows under its name.
TITLES = {
    "api": ("REST and gRPC", "Ingest and the gateway with a real Kafka. Idle: 50 requests a second."),
    "chain": ("The whole chain", "Generator, APIs, Kafka, etl and ClickHouse on this machine, with default settings."),
    "workers": ("Several workers", "What a second worker of ingest and of the gateway gains."),
    "etl_backlog": ("Loading a backlog", "A full topic is loaded into ClickHouse; the CPU is of etl and ClickHouse."),
    "etl_identity": ("Identity of an event", "Decoding, and the search for repeated events, in the etl."),
    "validation": ("Ingest up to Kafka", "Steps of ingest in one process, with a publisher that does nothing."),
    "tokens": ("Authentication", "What a token costs each request."),
    "json_decoding": ("JSON", "JSON to Protobuf in the gateway."),
    "observability": ("Metrics", "What it costs to count a call, and to scrape the processes."),
    "hostile_input": ("Hostile input", "What a client can cause, beyond the cost of as many documented events."),
}
DETAIL_SHARE_MIN = 0.03
DETAILED = {"api": "CPU"}


def page() -> str:
    """Return the page."""
    reports = kept()
    if not reports:
        return INTRODUCTION + NO_RESULTS
    compared = [each for report in reports for each in report.comparisons if each.aim is not None]
    parts = [INTRODUCTION, machines(reports)]
    parts += [AIMS, comparison_table(compared)] if compared else []
    return "\n".join([*parts, *map(section, reports)])


def kept(folder: Path = KEPT) -> list[Report]:
    """Return the reports that are kept, in the order of the page."""
    order = {name: position for position, name in enumerate(TITLES)}
    found = [read(path) for path in folder.glob("*.json")]
    return sorted(found, key=lambda each: (order.get(each.benchmark, len(order)), each.benchmark))


def machines(reports: Iterable[Report]) -> str:
    """Return a table of the machine, and the commit and versions of the first report of each machine."""
    names: dict[str, list[str]] = {}
    for report in reports:
        names.setdefault(described(report.machine), []).append(f"`{report.benchmark}` ({report.began[:10]})")
    return "".join(f"{', '.join(each)}: {text}.\n" for text, each in names.items())


def described(machine: Machine) -> str:
    """Return the machine in one sentence."""
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    return (
        f"{machine.cores} cores, {machine.cpu}, {machine.memory_gigabytes} GB, {machine.kernel}; commit"
        f" `{machine.commit}`; Python {machine.python}, {versions}"
    )


def comparison_table(comparisons: Sequence[Comparison]) -> str:
    """Return the table of the ratios."""
    rows = [
        f"| {each.title} | {own_value(each)} | {each.beside}: {number(each.beside_value)}"
        f" | **{each.ratio:.2f}** | {aim_of(each)} | {VERDICTS[each.is_met]} |"
        for each in comparisons
    ]
    head = "| | this project | beside | ratio | aim | |\n|---|---|---|---|---|---|\n"
    return head + "\n".join(rows) + "\n"


def own_value(comparison: Comparison) -> str:
    """Return the value, with its system unless it is the project as a whole."""
    value = f"{number(comparison.value)} {comparison.unit}"
    return value if comparison.system == THIS_PROJECT else f"{comparison.system}: {value}"


def aim_of(comparison: Comparison) -> str:
    """Return the aim in words."""
    if comparison.aim is None:
        return ""
    return f"{'at least' if comparison.higher else 'at most'} {comparison.aim:g}"


def section(report: Report) -> str:
    """Return the section of a benchmark."""
    title, text = TITLES.get(report.benchmark, (report.benchmark, ""))
    options = ", ".join(f"{name} {value}" for name, value in report.options.items())
    measured = f"Benchmark `{report.benchmark}`" + (f": {options}." if options else ".")
    parts = [f"## {title}\n", f"{text} {measured}\n" if text else f"{measured}\n", figure_table(report)]
    others = [each for each in report.comparisons if each.aim is None]
    parts += [comparison_table(others)] if others else []
    if report.benchmark in DETAILED:
        parts.append(detail_table(report, DETAILED[report.benchmark]))
    return "\n".join(parts)


def figure_table(report: Report) -> str:
    """Return the table of the figures: a line for each row and system, a column for each quantity."""
    quantities = {f"{each.quantity}, {each.unit}" if each.unit else each.quantity: None for each in report.figures}
    lines: dict[tuple[str, str], dict[str, Figure]] = {}
    for each in report.figures:
        column = f"{each.quantity}, {each.unit}" if each.unit else each.quantity
        lines.setdefault((each.row, each.system), {})[column] = each
    rows = []
    for (row, system), found in lines.items():
        values = " | ".join(number(found[name].median) if name in found else "" for name in quantities)
        parts = "; ".join(
            f"{name} {number(value)}" for each in found.values() for name, value in each.parts.items() if each.parts
        )
        titles = report.titles.get(row, row), report.titles.get(system, system)
        rows.append(f"| {' | '.join(titles)} | {values} | {parts} |")
    columns = ["", "system", *quantities, "of it"]
    if not any(each.parts for each in report.figures):
        columns, rows = columns[:-1], [row.removesuffix("  |") for row in rows]
    return f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}\n" + "\n".join(rows) + "\n"


def detail_table(report: Report, quantity: str) -> str:
    """Return the table of the threads of each process."""
    rows = []
    for each in report.figures:
        for part, details in each.details.items() if each.quantity == quantity else ():
            spent = sorted(details.items(), key=lambda pair: -pair[1])
            least = DETAIL_SHARE_MIN * each.parts[part]
            shown = ", ".join(f"{name} {number(value)}" for name, value in spent if value > least)
            titles = report.titles.get(each.row, each.row), report.titles.get(each.system, each.system)
            rows.append(f"| {' | '.join(titles)} | {part} | {shown} |")
    return f"{quantity} by thread, of threads above {DETAIL_SHARE_MIN:.0%} of their process:\n\n" + (
        "| | system | process | threads |\n|---|---|---|---|\n" + "\n".join(rows) + "\n"
    )
