"""`ugc-audit`: compares the rows in ClickHouse with Kafka's offsets, partition by partition; safe while the etl runs.

Its command line and exit statuses are in commands.py.
"""

from __future__ import annotations

import argparse
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from functools import partial

from common.commands import write_out
from common.lifecycle import interruptible
from common.settings import load
from db.clickhouse.changes import PartitionChanges
from db.clickhouse.client import connected
from db.clickhouse.replicas import unsettled
from db.clickhouse.stored import StoredEvents
from db.conservation import Breach, BreachKind, Claim, Repeats, check_partition
from db.errors import StoreError
from db.kafka.halts import halted
from db.kafka.topics import OffsetReader, PartitionOffsets, read_offsets, topic_identity
from db.report import Report, as_json, as_table
from db.settings import AuditSettings

EXIT_BREACH, EXIT_STORE = 1, 3
WAIT_POLL_SECONDS = 0.2


def main(options: argparse.Namespace) -> None:
    """Audit once and print the report."""
    with interruptible("ugc-audit"):
        settings = load(AuditSettings)
        try:
            report = audit(settings, options.wait)
        except StoreError as error:
            sys.stderr.write(f"ugc-audit: {error}\n")
            sys.exit(EXIT_STORE)
        write_out(as_json(report) if options.json else as_table(report))
        sys.exit(EXIT_BREACH if report.breaches else EXIT_STORE if report.unsettled else 0)


def audit(settings: AuditSettings, wait_seconds_max: float = 0.0) -> Report:
    """Compare the tables with Kafka; raise StoreError when one of them does not answer.

    With a wait, a partition that is not consumed within that time is a breach.
    """
    topic = settings.kafka_topic
    topic_id = topic_identity(settings, topic, needs="READ")
    reader = OffsetReader(settings, topic, settings.etl_group)
    with connected(settings.clickhouse_url) as connection:
        try:
            before = await_consumed(reader, wait_seconds_max)
            # A row that a replica has not fetched yet may seem to be missing, or be the second copy of another.
            behind = unsettled(connection, settings.clickhouse_cluster) if settings.clickhouse_cluster else []
            stored = StoredEvents(connection, cluster=bool(settings.clickhouse_cluster))
            buckets = stored.buckets(topic_id, {each.partition: each.committed for each in before})
            repeats = stored.repeats(settings.etl_duplicate_window)
            changes = PartitionChanges(connection, topic_id, cluster=bool(settings.clickhouse_cluster))
            across = changes.repeated(settings.etl_duplicate_window)
            misplaced = changes.misplaced({each.partition: each.high for each in before}, settings.etl_duplicate_window)
            # Plans are read after the tables, because the etl commits a plan before it inserts the rows.
            after = read_offsets(reader)
            lagging = [
                not_consumed(topic_id, each, wait_seconds_max) for each in before if wait_seconds_max and each.lag
            ]
            lagging += changed_logs(topic_id, before, after)
            lagging += halts(topic_id, after)
            lagging += stalled(topic_id, reader, after, settings.audit_lag_seconds_max)
        finally:
            reader.close()
        claims = {(topic_id, number): each for number, each in claims_of(before, after).items()}
        partitions = tuple(
            check_partition(
                *key,
                claims.get(key),
                buckets.get(key, []),
                repeats.get(key, Repeats()),
                partial(stored.offsets, key),
            )
            for key in sorted(claims.keys() | buckets.keys(), key=lambda each: (each[0] != topic_id, each))
        )
    breaches = [breach for each in partitions for breach in each.breaches]
    breaches += [
        Breach(BreachKind.REPEATED, topic_id, number, each.events, each.examples, len(each.examples))
        for number, each in sorted(across.items())
    ]
    return Report(topic, topic_id, partitions, tuple(breaches + lagging), tuple(behind), misplaced)


def await_consumed(reader: OffsetReader, seconds_max: float) -> list[PartitionOffsets]:
    """Return the offsets once every message is consumed, or when the time is up."""
    deadline = time.monotonic() + seconds_max
    while True:
        offsets = read_offsets(reader)
        if not any(each.lag for each in offsets) or time.monotonic() >= deadline:
            return offsets
        time.sleep(WAIT_POLL_SECONDS)


def claims_of(before: Sequence[PartitionOffsets], after: Sequence[PartitionOffsets]) -> dict[int, Claim]:
    """Combine two readings of all partitions; of a partition that only the second has, no row is required yet."""
    first, last = ({each.partition: each for each in offsets} for offsets in (before, after))
    added = {number: PartitionOffsets(number, each.low, each.low, each.low) for number, each in last.items()}
    return {number: claim(each, last.get(number, each)) for number, each in sorted((added | first).items())}


def claim(before: PartitionOffsets, after: PartitionOffsets) -> Claim:
    """Combine two readings: what was committed in the first must be stored, what is planned in the second may be."""
    return Claim(after.low, after.high, after.committed, before.committed, max(before.end, after.end))


def not_consumed(topic_id: uuid.UUID, offsets: PartitionOffsets, seconds: float) -> Breach:
    """Return the breach of a partition that was not consumed within the time to wait."""
    example = f"after {seconds:g} s offset {offsets.committed} is committed of {offsets.high}"
    return Breach(BreachKind.BEHIND, topic_id, offsets.partition, offsets.lag, (example,), offsets.lag)


def changed_logs(
    topic_id: uuid.UUID, before: Sequence[PartitionOffsets], after: Sequence[PartitionOffsets]
) -> Iterator[Breach]:
    """Yield a breach for each partition whose log does not hold what was committed, for which the etl halts it.

    A log grows, and offsets are committed: what an earlier reading shows is compared with a later one.
    """
    later = {each.partition: each for each in after}
    for each in before:
        now = later.get(each.partition, each)
        if now.committed and (lost := each.low - now.committed) > 0:
            example = f"offset {now.committed} is the next to consume, the log begins at {each.low}"
            yield Breach(BreachKind.LOST, topic_id, each.partition, lost, (example,), lost)
        if (beyond := each.committed - now.high) > 0:
            example = f"offset {each.committed} is committed, the log ends at {now.high}"
            yield Breach(BreachKind.SHORTER, topic_id, each.partition, beyond, (example,), beyond)


def halts(topic_id: uuid.UUID, partitions: Sequence[PartitionOffsets]) -> list[Breach]:
    """Return a breach for each partition that the etl has halted because its log had changed."""
    found = []
    for each in partitions:
        if (reason := halted(topic_id, each)) is not None:
            count = max(0, each.lag)
            found.append(Breach(BreachKind.HALTED, topic_id, each.partition, count, (reason,), count))
    return found


def stalled(
    topic_id: uuid.UUID, reader: OffsetReader, partitions: Sequence[PartitionOffsets], seconds_max: float
) -> list[Breach]:
    """Return a breach for each partition whose first unconsumed message is too old: nothing consumes the partition."""
    found = []
    for each in partitions:
        offset = max(each.committed, each.low)
        written_at = reader.written_at(each.partition, offset) if each.lag else None
        seconds = 0.0 if written_at is None else time.time() - written_at
        if seconds > seconds_max:
            example = f"offset {offset} was written {seconds:,.0f} s ago, UGC_AUDIT_LAG_SECONDS_MAX is {seconds_max:g}"
            found.append(Breach(BreachKind.STALLED, topic_id, each.partition, each.lag, (example,), each.lag))
    return found


if __name__ == "__main__":
    from db.commands import audit as command

    command()
