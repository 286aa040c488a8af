"""The report of `ugc-rewind`, as JSON and as a table."""

from __future__ import annotations

import dataclasses
import json
import uuid

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from db.report import COLUMNS_MAX
from db.rewinding import Rewind

NUMBERS = ("committed", "table's end", "missing", "rewind to", "rewind by", "in Kafka", "lost", "low", "high")


@dataclasses.dataclass(frozen=True)
class RewindReport:
    """What the tables hold of each partition, and whether the offsets were set; `members` are those of the group."""

    topic: str
    topic_id: uuid.UUID
    group: str
    partitions: tuple[Rewind, ...]
    is_applied: bool
    members: tuple[str, ...]
    earlier_topics: int

    @property
    def lost(self) -> int:
        """Number of messages that the tables lack, and that Kafka has deleted."""
        return sum(each.lost for each in self.partitions)

    @property
    def again(self) -> int:
        """Number of messages that the etl reads again."""
        return sum(each.again for each in self.partitions)

    @property
    def missing(self) -> int:
        """Number of messages that the tables lack."""
        return sum(each.missing for each in self.partitions)


def as_json(report: RewindReport) -> str:
    """Return the report as JSON."""
    totals = {"again": report.again, "missing": report.missing, "lost": report.lost}
    return json.dumps(dataclasses.asdict(report) | totals, default=str, indent=2) + "\n"


def as_table(report: RewindReport) -> str:
    """Return the report as text: a line for each partition, what is lost, and what was or would be done."""
    console = Console(width=COLUMNS_MAX, highlight=False, soft_wrap=True)
    with console.capture() as text:
        print_report(console, report)
    return text.get()


def print_report(console: Console, report: RewindReport) -> None:
    """Print the report to a console."""
    table = Table(box=box.SIMPLE, title=f"group {report.group}, topic {report.topic} ({report.topic_id})")
    for name in ("partition", *NUMBERS):
        table.add_column(name, justify="right", no_wrap=True)
    for each in report.partitions:
        table.add_row(str(each.partition), *("-" if number is None else f"{number:,}" for number in numbers(each)))
    console.print(table)
    for each in report.partitions:
        if each.lost:
            console.print(f"[red]LOST[/] {escape(lost_text(each))}")
    if report.earlier_topics:
        console.print(
            f"the tables also hold rows of {report.earlier_topics:,} earlier topics of this name; they are not compared"
        )
    console.print(conclusion(report))


def numbers(each: Rewind) -> tuple[int | None, ...]:
    """Return the numbers of a partition in the order of NUMBERS."""
    where = (each.committed, each.held_end, each.missing, each.target, each.again)
    return (*where, each.restorable, each.lost, each.low, each.high)


def lost_text(each: Rewind) -> str:
    """Return which messages of a partition are lost."""
    shown = ", ".join(f"{first} to {last}" if first != last else str(first) for first, last in each.lost_ranges)
    more = ", ..." if sum(last - first + 1 for first, last in each.lost_ranges) < each.lost else ""
    at_most = "at most " if each.held_end is None else ""
    return (
        f"partition {each.partition}: {at_most}{each.lost:,} messages, offsets {shown}{more}: the tables do not "
        f"hold them, and Kafka has deleted everything before offset {each.low:,}"
    )


def conclusion(report: RewindReport) -> str:
    """Return what was done, or would be done."""
    partitions = sum(each.again > 0 for each in report.partitions)
    if not partitions:
        return "nothing to rewind: the tables hold every message before the committed offsets that Kafka still has"
    lacking = report.missing - report.lost
    of = f"{partitions} partitions by {report.again:,} messages, of which the tables lack {lacking:,}"
    if report.is_applied:
        return f"rewound {of}; start the etl, then check with ugc-audit --wait"
    who = f"; refused while the group has members: {escape('; '.join(report.members))}" if report.members else ""
    return f"dry run: would rewind {of}; do it with --apply{who}"
