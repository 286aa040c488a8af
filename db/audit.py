"""`ugc-audit`: holds every partition to the conservation law, and against Kafka's offsets; safe while the etl runs.

Exit status: 0 clean, 1 any breach, 2 a bad setting or option, 3 a store does not answer, or a replica is behind,
130 or 143 interrupted.
"""

from __future__ import annotations

import argparse
import sys
import time
import uuid
from collections.abc import Sequence
from functools import partial

from common.lifecycle import interruptible
from common.settings import load
from db.clickhouse.client import connected
from db.clickhouse.replicas import unsettled
from db.clickhouse.stored import StoredEvents
from db.conservation import Breach, Claim, Kind, Repeats, judge
from db.errors import StoreError, UnavailableError
from db.kafka.topics import OffsetReader, PartitionOffsets, topic_identity
from db.report import Report, as_json, show
from db.settings import AuditSettings

EXIT_BREACH, EXIT_STORE = 1, 3
WAIT_POLL_SECONDS = 0.2
# A partition that was added a moment ago has no leader yet.
READ_SECONDS_MAX = 10.0


def main(options: argparse.Namespace) -> None:
    """Audit once and print what was found."""
    with interruptible("ugc-audit"):
        settings = load(AuditSettings)
        try:
            report = audit(settings, options.wait)
        except StoreError as error:
            sys.stderr.write(f"ugc-audit: {error}\n")
            sys.exit(EXIT_STORE)
        sys.stdout.write(as_json(report)) if options.json else show(report)
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
            after = read(reader)
            late = [behind(topic_id, each, wait_seconds_max) for each in before if wait_seconds_max and each.lag]
            late += standing(topic_id, reader, after, settings.audit_lag_seconds_max)
        finally:
            reader.close()
        claims = {(topic_id, number): each for number, each in claims_of(before, after).items()}
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
    return Report(topic, topic_id, partitions, found + tuple(late), tuple(waiting))


def await_consumed(reader: OffsetReader, seconds_max: float) -> list[PartitionOffsets]:
    """Return the offsets once everything is committed, or as they are when the time is up."""
    deadline = time.monotonic() + seconds_max
    while True:
        offsets = read(reader)
        if not any(each.lag for each in offsets) or time.monotonic() >= deadline:
            return offsets
        time.sleep(WAIT_POLL_SECONDS)


def read(reader: OffsetReader) -> list[PartitionOffsets]:
    """Read the offsets, again for a while when Kafka cannot answer for a partition."""
    deadline = time.monotonic() + READ_SECONDS_MAX
    while True:
        try:
            return reader.read()
        except UnavailableError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(WAIT_POLL_SECONDS)


def claims_of(before: Sequence[PartitionOffsets], after: Sequence[PartitionOffsets]) -> dict[int, Claim]:
    """Read two looks at all partitions; of one that was added between them nothing must be stored yet."""
    first, last = ({each.partition: each for each in offsets} for offsets in (before, after))
    added = {number: PartitionOffsets(number, each.low, each.low, each.low) for number, each in last.items()}
    return {number: claim(each, last.get(number, each)) for number, each in sorted((added | first).items())}


def claim(before: PartitionOffsets, after: PartitionOffsets) -> Claim:
    """Read two looks at a partition: all that was committed first is stored, no more than was planned last may be."""
    return Claim(after.low, after.high, after.committed, before.committed, max(before.end, after.end))


def behind(topic_id: uuid.UUID, offsets: PartitionOffsets, seconds: float) -> Breach:
    """Say that a partition was not consumed in the time that was given."""
    example = f"after {seconds:g} s offset {offsets.committed} is committed of {offsets.high}"
    return Breach(Kind.BEHIND, topic_id, offsets.partition, offsets.lag, (example,), offsets.lag)


def standing(
    topic_id: uuid.UUID, reader: OffsetReader, partitions: Sequence[PartitionOffsets], seconds_max: float
) -> list[Breach]:
    """Find the partitions whose first message that is not consumed was written too long ago: nobody consumes them."""
    found = []
    for each in partitions:
        offset = max(each.committed, each.low)
        written_at = reader.written_at(each.partition, offset) if each.lag else None
        seconds = 0.0 if written_at is None else time.time() - written_at
        if seconds > seconds_max:
            example = f"offset {offset} was written {seconds:,.0f} s ago, UGC_AUDIT_LAG_SECONDS_MAX is {seconds_max:g}"
            found.append(Breach(Kind.STANDING, topic_id, each.partition, each.lag, (example,), each.lag))
    return found


if __name__ == "__main__":
    from db.commands import audit as command

    command()
