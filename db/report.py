"""The report of `ugc-audit`, as JSON and as a table whose lines are never truncated."""

from __future__ import annotations

import dataclasses
import json
import uuid
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from db.conservation import Breach, Partition

# Wide enough for any table; a narrower terminal wraps the lines.
COLUMNS_MAX = 100_000
STORED_ELSEWHERE = (
    "events are stored in more than one partition, or topic: each was sent again after partitions were added, or after "
    "the topic was created again. This is not a breach: duplicates are detected within a partition, and across a "
    "change of partitions that ugc-add-partitions has recorded"
)
MISPLACED = (
    "of the last events are in partitions to which their users' events no longer go: partitions were added and the "
    "change is not recorded, so that repeats of these events are stored twice. Record it with ugc-add-partitions --to"
)


@dataclasses.dataclass(frozen=True)
class Report:
    """The result of an audit; `breaches` is empty when the law holds.

    `unsettled` has the reasons why rows may be missing from the counts: replicas of a cluster that have not caught up.
    """

    topic: str
    topic_id: uuid.UUID
    partitions: tuple[Partition, ...]
    breaches: tuple[Breach, ...]
    unsettled: tuple[str, ...] = ()
    # Of the last events, those in partitions other than their users', behind the last recorded change.
    misplaced: int = 0

    @property
    def lag(self) -> int:
        """Number of messages that the group has not committed."""
        return sum(each.lag for each in self.partitions)

    @property
    def in_flight(self) -> int:
        """Number of messages that are planned and not stored."""
        return sum(each.in_flight for each in self.partitions)

    @property
    def elsewhere(self) -> int:
        """Number of events that are stored in more than one partition."""
        return sum(each.repeats.elsewhere for each in self.partitions)


def as_json(report: Report) -> str:
    """Return the report as JSON."""
    whole = dataclasses.asdict(report) | {"lag": report.lag, "in_flight": report.in_flight}
    return json.dumps(whole, default=str, indent=2) + "\n"


def as_table(report: Report) -> str:
    """Return the report as text: a line for each partition, the breaches below; with colors for a terminal."""
    console = Console(width=COLUMNS_MAX, highlight=False, soft_wrap=True)
    with console.capture() as text:
        print_report(console, report)
    return text.get()


def print_report(console: Console, report: Report) -> None:
    """Print the report to a console."""
    table = Table(box=box.SIMPLE, title=f"topic {report.topic} ({report.topic_id})")
    for name in ("topic id", "partition", *NUMBERS):
        table.add_column(name, justify="left" if name == "topic id" else "right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    breached = {(breach.topic_id, breach.partition) for breach in report.breaches}
    for each in report.partitions:
        clean = "[yellow]unsettled[/]" if report.unsettled else "[green]clean[/]"
        verdict = "[red]BREACH[/]" if (each.topic_id, each.number) in breached else clean
        table.add_row(identity(each), str(each.number), *numbers(each), verdict)
    console.print(table)
    for breach in report.breaches:
        console.print(f"[red]BREACH[/] {escape(str(breach))}")
    if report.elsewhere:
        console.print(f"{report.elsewhere:,} {STORED_ELSEWHERE}")
    if report.misplaced:
        count = sum(each.topic_id == report.topic_id and each.claim is not None for each in report.partitions)
        console.print(f"{report.misplaced:,} {MISPLACED} {count} --apply")
    for reason in report.unsettled:
        console.print(f"[yellow]UNSETTLED[/] {escape(reason)}: rows may be missing from these counts")
    holds = "no breach in what was counted" if report.unsettled else CLEAN
    verdict = f"{len(report.breaches)} breaches" if report.breaches else holds
    console.print(f"{verdict}; lag {report.lag:,}, in flight {report.in_flight:,}")


CLEAN = "clean: every consumed message is one row of events or rejected_events"
NUMBERS = (
    *("first", "last", "events", "rejected", "missing", "twice", "beyond", "repeated", "far repeats", "elsewhere"),
    *("in flight", "low", "committed", "high", "lag"),
)


def numbers(each: Partition) -> Sequence[str]:
    """Return the numbers of a partition in the order of NUMBERS; a dash where there is none."""
    kafka = (each.claim.low, each.claim.committed, each.claim.high) if each.claim else (None, None, None)
    found = (
        *(each.first, each.last, each.events, each.rejected, each.missing, each.twice, each.beyond),
        *(each.repeats.near, each.repeats.far, each.repeats.elsewhere, each.in_flight, *kafka, each.lag),
    )
    return ["-" if number is None else f"{number:,}" for number in found]


def identity(each: Partition) -> str:
    """Return the first characters of the topic's id, and whether it is an earlier topic."""
    return f"{str(each.topic_id)[:8]}{'' if each.claim else ' (earlier)'}"
