"""`ugc-audit`: holds every partition to the conservation law, and against Kafka's offsets; safe while the etl runs.

Exit status: 0 clean, 1 any breach, 2 a bad setting or option, 3 a store does not answer, or a replica is behind.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
import uuid
from collections.abc import Sequence
from functools import partial

from rich import box
from rich.console import Console
from rich.table import Table

from db.clickhouse.client import connected
from db.clickhouse.replicas import unsettled
from db.clickhouse.stored import StoredEvents
from db.conservation import Breach, Claim, Kind, Partition, Repeats, judge
from db.errors import StoreError
from db.kafka.topics import OffsetReader, PartitionOffsets, topic_identity
from db.settings import AuditSettings
from services.runtime.settings import load

EXIT_BREACH, EXIT_STORE = 1, 3
WAIT_POLL_SECONDS = 0.2
# Where the output is no terminal, the table is as wide as it needs to be.
PIPE_COLUMNS = 160


@dataclasses.dataclass(frozen=True)
class Report:
    """What the audit found; `breaches` is empty when the law holds.

    `unsettled` says why rows may be missing from what was counted: on a cluster, what a replica lacks.
    """

    topic: str
    topic_id: uuid.UUID
    partitions: tuple[Partition, ...]
    breaches: tuple[Breach, ...]
    unsettled: tuple[str, ...] = ()

    @property
    def lag(self) -> int:
        """Messages that the group has not committed."""
        return sum(each.lag for each in self.partitions)

    @property
    def in_flight(self) -> int:
        """Messages that are planned and not stored."""
        return sum(each.in_flight for each in self.partitions)


def main() -> None:
    """Audit once and print what was found."""
    options = argparse.ArgumentParser(prog="ugc-audit", description="Is every consumed message exactly one row?")
    options.add_argument("--json", action="store_true", help="print the report as JSON")
    options.add_argument("--wait", type=float, default=0.0, metavar="SECONDS", help="wait so long for the lag to be 0")
    given = options.parse_args()
    settings = load(AuditSettings)
    try:
        report = audit(settings, given.wait)
    except StoreError as error:
        sys.stderr.write(f"ugc-audit: {error}\n")
        sys.exit(EXIT_STORE)
    sys.stdout.write(as_json(report)) if given.json else show(report)
    sys.exit(EXIT_BREACH if report.breaches else EXIT_STORE if report.unsettled else 0)


def audit(settings: AuditSettings, wait_seconds_max: float = 0.0) -> Report:
    """Compare the tables with Kafka; StoreError when one of them does not answer.

    With a wait, consuming everything in that time is part of what is asked.
    """
    servers, topic = settings.kafka_bootstrap_servers, settings.kafka_topic
    topic_id = topic_identity(servers, topic)
    reader = OffsetReader(servers, topic, settings.etl_group)
    with connected(settings.clickhouse_url) as connection:
        try:
            before = await_consumed(reader, wait_seconds_max)
            # What a replica has not fetched yet could be missing below, or be the second copy of a row.
            waiting = unsettled(connection, settings.clickhouse_cluster) if settings.clickhouse_cluster else []
            stored = StoredEvents(connection, cluster=bool(settings.clickhouse_cluster))
            buckets = stored.buckets(topic_id, {each.partition: each.committed for each in before})
            repeats = stored.repeats(settings.etl_duplicate_window)
            # What may be stored is asked after the tables: the etl says what it will insert before it does.
            after = reader.read()
        finally:
            reader.close()
        claims = {(topic_id, first.partition): claim(first, last) for first, last in zip(before, after, strict=True)}
        partitions = tuple(
            judge(
                *place,
                claims.get(place),
                buckets.get(place, []),
                repeats.get(place, Repeats()),
                partial(stored.offsets, place),
            )
            for place in sorted(claims.keys() | buckets.keys(), key=lambda each: (each[0] != topic_id, each))
        )
    found = tuple(breach for each in partitions for breach in each.breaches)
    late = tuple(behind(topic_id, each, wait_seconds_max) for each in before if wait_seconds_max and each.lag)
    return Report(topic, topic_id, partitions, found + late, tuple(waiting))


def await_consumed(reader: OffsetReader, seconds_max: float) -> list[PartitionOffsets]:
    """Return the offsets once everything is committed, or as they are when the time is up."""
    deadline = time.monotonic() + seconds_max
    while True:
        offsets = reader.read()
        if not any(each.lag for each in offsets) or time.monotonic() >= deadline:
            return offsets
        time.sleep(WAIT_POLL_SECONDS)


def claim(before: PartitionOffsets, after: PartitionOffsets) -> Claim:
    """Read two looks at a partition: all that was committed first is stored, no more than was planned last may be."""
    return Claim(after.low, after.high, after.committed, before.committed, max(before.end, after.end))


def behind(topic_id: uuid.UUID, offsets: PartitionOffsets, seconds: float) -> Breach:
    """Say that a partition was not consumed in the time that was given."""
    example = f"after {seconds:g} s offset {offsets.committed} is committed of {offsets.high}"
    return Breach(Kind.BEHIND, topic_id, offsets.partition, offsets.lag, (example,))


def as_json(report: Report) -> str:
    """Write the report for machines."""
    whole = dataclasses.asdict(report) | {"lag": report.lag, "in_flight": report.in_flight}
    return json.dumps(whole, default=str, indent=2) + "\n"


def show(report: Report) -> None:
    """Print the report for people: a line for each partition, the breaches below."""
    console = Console(width=None if sys.stdout.isatty() else PIPE_COLUMNS, highlight=False)
    table = Table(box=box.SIMPLE, title=f"topic {report.topic} ({report.topic_id})")
    for name in ("topic id", "partition", *NUMBERS):
        table.add_column(name, justify="left" if name == "topic id" else "right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for each in report.partitions:
        clean = "[yellow]unsettled[/]" if report.unsettled else "[green]clean[/]"
        verdict = "[red]BREACH[/]" if each.breaches else clean
        table.add_row(identity(each), str(each.number), *numbers(each), verdict)
    console.print(table)
    for breach in report.breaches:
        console.print(f"[red]BREACH[/] {breach}", soft_wrap=True)
    for reason in report.unsettled:
        console.print(f"[yellow]UNSETTLED[/] {reason}: rows may be missing from these counts", soft_wrap=True)
    holds = "nothing wrong in what was counted" if report.unsettled else "clean: every consumed message is one row"
    verdict = f"{len(report.breaches)} breaches" if report.breaches else holds
    console.print(f"{verdict}; lag {report.lag:,}, in flight {report.in_flight:,}")


NUMBERS = (
    *("first", "last", "events", "rejected", "missing", "twice", "beyond", "repeated", "far repeats"),
    *("in flight", "low", "committed", "high", "lag"),
)


def numbers(each: Partition) -> Sequence[str]:
    """Write the numbers of a partition, in the order of NUMBERS; a dash where there is none."""
    kafka = (each.claim.low, each.claim.committed, each.claim.high) if each.claim else (None, None, None)
    found = (
        *(each.first, each.last, each.events, each.rejected, each.missing, each.twice, each.beyond),
        *(each.repeats.near, each.repeats.far + each.repeats.elsewhere, each.in_flight, *kafka, each.lag),
    )
    return ["-" if number is None else f"{number:,}" for number in found]


def identity(each: Partition) -> str:
    """Write which topic it is, as short as tells them apart by eye."""
    return f"{str(each.topic_id)[:8]}{'' if each.claim else ' (earlier)'}"


if __name__ == "__main__":
    main()
