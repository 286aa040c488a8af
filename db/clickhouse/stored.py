"""Counts the rows of both tables for the audit, in memory that does not grow with the tables."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from itertools import pairwise

from db.clickhouse.client import ClickHouse
from db.conservation import BUCKET_OFFSETS, EXAMPLES_MAX, Bucket, Example, Repeats, StoredOffset

# A GROUP BY that needs more memory continues on disk.
GROUPING_BYTES_MAX = 1_000_000_000
# A topic id and the number of a partition.
PartitionKey = tuple[uuid.UUID, int]

BOTH = """
(
    SELECT kafka_topic_id, kafka_partition, kafka_offset, 0 AS rejected FROM events{suffix}
    UNION ALL
    SELECT kafka_topic_id, kafka_partition, kafka_offset, 1 AS rejected FROM rejected_events{suffix}
)
"""
# A bitmap takes one bit for each of adjacent offsets; a set would take 16 bytes.
BUCKETS = """
SELECT kafka_topic_id, kafka_partition, countIf(rejected = 0), countIf(rejected = 1),
    groupBitmap(kafka_offset),
    groupBitmapIf(kafka_offset, kafka_topic_id != %(topic_id)s
        OR kafka_offset < transform(kafka_partition, %(partitions)s, %(floors)s, toUInt64(0))),
    min(kafka_offset), max(kafka_offset)
FROM {both}
GROUP BY kafka_topic_id, kafka_partition, intDiv(kafka_offset, %(bucket)s) AS bucket
ORDER BY kafka_topic_id, kafka_partition, bucket
"""
OFFSETS = """
SELECT kafka_offset, countIf(rejected = 0), countIf(rejected = 1)
FROM {both}
WHERE kafka_topic_id = %(topic_id)s AND kafka_partition = %(partition)s
    AND kafka_offset BETWEEN %(first)s AND %(last)s
GROUP BY kafka_offset
ORDER BY kafka_offset
"""
# A row that is stored twice has one offset: it is counted by BUCKETS, not here.
REPEATS = """
SELECT kafka_topic_id, kafka_partition,
    sum(arrayCount(distance -> distance <= %(window)s, distances)),
    sum(arrayCount(distance -> distance > %(window)s, distances)),
    countIf(place > 1),
    groupArrayIf(%(examples)s)((event_id, user_id, offsets), arrayExists(distance -> distance <= %(window)s, distances))
FROM
(
    SELECT kafka_topic_id, kafka_partition, event_id, user_id, arraySort(groupUniqArray(kafka_offset)) AS offsets,
        arrayPopFront(arrayDifference(offsets)) AS distances,
        row_number() OVER (PARTITION BY event_id, user_id ORDER BY kafka_topic_id, kafka_partition) AS place
    FROM events{suffix}
    WHERE (event_id, user_id) GLOBAL IN
        (SELECT event_id, user_id FROM events{suffix} GROUP BY event_id, user_id HAVING count() > 1)
    GROUP BY kafka_topic_id, kafka_partition, event_id, user_id
)
GROUP BY kafka_topic_id, kafka_partition
SETTINGS max_bytes_before_external_group_by = %(bytes)s
"""


class StoredEvents:
    """Queries the tables `events` and `rejected_events` of one server, or of all shards of a cluster."""

    def __init__(self, connection: ClickHouse, *, cluster: bool) -> None:
        self._connection = connection
        self._suffix = "_all" if cluster else ""
        self._both = BOTH.format(suffix=self._suffix)

    def buckets(self, topic_id: uuid.UUID, floors: Mapping[int, int]) -> dict[PartitionKey, list[Bucket]]:
        """Return the buckets of each partition, in order; `floors` has the floor of each partition of the topic."""
        found: dict[PartitionKey, list[Bucket]] = {}
        for row in self._connection.rows(
            BUCKETS.format(both=self._both),
            {
                "topic_id": topic_id,
                "partitions": list(floors),
                "floors": list(floors.values()),
                "bucket": BUCKET_OFFSETS,
            },
        ):
            found.setdefault((row[0], row[1]), []).append(Bucket(*row[2:]))
        return found

    def offsets(self, key: PartitionKey, first: int, last: int) -> list[StoredOffset]:
        """Return the stored offsets from the first to the last, both included."""
        parameters = {"topic_id": key[0], "partition": key[1], "first": first, "last": last}
        return [StoredOffset(*row) for row in self._connection.rows(OFFSETS.format(both=self._both), parameters)]

    def repeats(self, window: int) -> dict[PartitionKey, Repeats]:
        """Count the events (event_id and user_id) that are stored at more than one offset, by partition."""
        parameters = {"window": window, "examples": EXAMPLES_MAX, "bytes": GROUPING_BYTES_MAX}
        return {
            (topic_id, partition): Repeats(near, far, elsewhere, examples_of(examples, window))
            for topic_id, partition, near, far, elsewhere, examples in self._connection.rows(
                REPEATS.format(suffix=self._suffix), parameters
            )
        }


def examples_of(repeats: Iterable[tuple[uuid.UUID, uuid.UUID, list[int]]], window: int) -> tuple[Example, ...]:
    """Return repeats, each an event_id, a user and its offsets, as examples."""
    return tuple(repeat_example(event_id, user_id, offsets, window) for event_id, user_id, offsets in repeats)


def repeat_example(event_id: uuid.UUID, user_id: uuid.UUID, offsets: list[int], window: int) -> Example:
    """Return an event_id, its user and its first offsets as an example."""
    repeats = sum(second - first <= window for first, second in pairwise(offsets))
    shown = ", ".join(map(str, offsets[:EXAMPLES_MAX]))
    text = f"{event_id} of user {user_id} at offsets {shown}{', ...' if len(offsets) > EXAMPLES_MAX else ''}"
    return Example(text, repeats)
