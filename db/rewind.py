"""`ugc-rewind --to-table`: sets the group's offsets back to what the tables hold, after a restore of ClickHouse.

Setting offsets back is safe at any value: the etl reads on from there and inserts only what the tables lack. The
offsets are read before the tables, as in an audit, so what was committed then must be stored.

Its command line and exit statuses are in commands.py.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from functools import partial

from common.commands import write_out
from common.lifecycle import interruptible
from common.settings import load
from db.clickhouse.client import connected
from db.clickhouse.replicas import unsettled
from db.clickhouse.stored import PartitionKey, StoredEvents
from db.conservation import Bucket, missing_ranges
from db.errors import ConflictError, StoreError, UnavailableError
from db.kafka.groups import GroupInUseError, members, set_offsets
from db.kafka.topics import OffsetReader, PartitionOffsets, read_offsets, topic_identity
from db.rewind_report import RewindReport, as_json, as_table
from db.rewinding import Range, committed_for, gaps_start, rewind_partition
from db.settings import RewindSettings

EXIT_NOT_DONE, EXIT_STORE = 1, 3


def main(options: argparse.Namespace) -> None:
    """Print what is rewound, and with `--apply` do it."""
    with interruptible("ugc-rewind"):
        settings = load(RewindSettings)
        try:
            report = rewind(settings, is_applied=options.apply)
        except ConflictError as error:
            sys.stderr.write(f"ugc-rewind: {error}\n")
            sys.exit(EXIT_NOT_DONE)
        except StoreError as error:
            sys.stderr.write(f"ugc-rewind: {error}\n")
            sys.exit(EXIT_STORE)
        write_out(as_json(report) if options.json else as_table(report))
        sys.exit(EXIT_NOT_DONE if report.lost else 0)


def rewind(settings: RewindSettings, *, is_applied: bool) -> RewindReport:
    """Compare the group's offsets with the tables, and set back those that are ahead of them if `is_applied`.

    Raises GroupInUseError if offsets are to be set while the group has a member, UnavailableError if a server does not
    answer, and ConflictError if the log does not reach to what was committed. Nothing is changed then.
    """
    topic, group = settings.kafka_topic, settings.etl_group
    found = members(settings, group)
    if is_applied and found:
        raise GroupInUseError(
            f"the group {group} has members, so no offset was set; stop every etl: {'; '.join(found)}"
        )
    topic_id = topic_identity(settings, topic, needs="READ")
    reader = OffsetReader(settings, topic, group)
    try:
        offsets = read_offsets(reader)
    finally:
        reader.close()
    with connected(settings.clickhouse_url) as connection:
        if settings.clickhouse_cluster and (behind := unsettled(connection, settings.clickhouse_cluster)):
            raise UnavailableError(f"rows may be missing from what the tables show: {'; '.join(behind)}")
        stored = StoredEvents(connection, cluster=bool(settings.clickhouse_cluster))
        floors = {each.partition: committed_for(topic_id, each) for each in offsets}
        buckets = stored.buckets(topic_id, floors)
        partitions = tuple(
            rewind_partition(
                topic_id,
                each,
                end_of(buckets.get((topic_id, each.partition), [])),
                gaps_of(stored, (topic_id, each.partition), each, buckets, floors[each.partition]),
            )
            for each in offsets
        )
    earlier = {key[0] for key in buckets} - {topic_id}
    back = {each.partition: each.target for each in partitions if each.again}
    if is_applied and back:
        set_offsets(settings, group, topic, back)
    return RewindReport(topic, topic_id, group, partitions, is_applied, tuple(found), len(earlier))


def end_of(buckets: Sequence[Bucket]) -> int | None:
    """Return the offset after the last stored row; None if there is none."""
    return buckets[-1].last + 1 if buckets else None


def gaps_of(
    stored: StoredEvents,
    key: PartitionKey,
    offsets: PartitionOffsets,
    buckets: dict[PartitionKey, list[Bucket]],
    committed: int,
) -> Iterator[Range]:
    """Yield the ranges without a row before the committed offset."""
    rows = buckets.get(key, [])
    start = gaps_start(offsets.low, committed, rows[0].first if rows else None)
    return missing_ranges(rows, start, committed, partial(stored.offsets, key))


if __name__ == "__main__":
    from db.commands import rewind as command

    command()
