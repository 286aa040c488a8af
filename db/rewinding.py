"""Where the group's offsets must be set back to, as a pure function of the rows in ClickHouse and Kafka's offsets."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable
from dataclasses import dataclass

from db.conservation import EXAMPLES_MAX
from db.errors import ConflictError
from db.kafka.topics import PartitionOffsets

# The first and the last offset of a range.
Range = tuple[int, int]


@dataclass(frozen=True)
class Rewind:
    """What the tables hold of a partition, and the offset that the group must continue from.

    `held_end` is the offset after the last stored row, None without a row. `missing` counts the offsets before the
    committed one that have no row: Kafka still has some, and has deleted `lost` of them, of which `lost_ranges` are the
    first. `again` is the number of messages that the etl reads again.
    """

    partition: int
    low: int
    high: int
    committed: int
    held_end: int | None
    target: int
    missing: int = 0
    lost: int = 0
    lost_ranges: tuple[Range, ...] = ()

    @property
    def again(self) -> int:
        """Number of messages between the target and the committed offset."""
        return self.committed - self.target

    @property
    def restorable(self) -> int:
        """Number of messages that have no row, and that Kafka still has."""
        return self.missing - self.lost


def committed_for(topic_id: uuid.UUID, offsets: PartitionOffsets) -> int:
    """Return the committed offset, 0 where the etl ignores it: it was committed for an earlier topic of this name."""
    try:
        of_topic = json.loads(offsets.metadata)["topic"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return offsets.committed
    return offsets.committed if of_topic == str(topic_id) else 0


def gaps_start(low: int, committed: int, first_row: int | None) -> int:
    """Return from which offset on a missing row counts: from what is stored or Kafka still has.

    Without a row nothing shows where the etl began, so everything that was committed counts: at most that is lost.
    """
    return 0 if first_row is None else min(low, committed, first_row)


def rewind_partition(
    topic_id: uuid.UUID, offsets: PartitionOffsets, held_end: int | None, gaps: Iterable[Range]
) -> Rewind:
    """Return how a partition is rewound; `gaps` are the ranges without a row before the committed offset, ascending.

    The target is the first offset without a row that Kafka still has. An offset is never moved forward. ConflictError
    if more is committed than the log has: its end is gone, and its offsets may be given a second time.
    """
    low, high, committed = offsets.low, offsets.high, committed_for(topic_id, offsets)
    if committed > high:
        raise ConflictError(
            f"partition {offsets.partition}: offset {committed} is committed, but the log ends at {high}: it was "
            "truncated or restored from an older copy (docs/operating/backup.md). Nothing was changed"
        )
    target, missing, lost, lost_ranges = committed, 0, 0, list[Range]()
    for first, last in gaps:
        missing += last - first + 1
        if first < low:
            lost_last = min(last, low - 1)
            lost += lost_last - first + 1
            if len(lost_ranges) < EXAMPLES_MAX:
                lost_ranges.append((first, lost_last))
        if last >= low:
            target = min(target, max(first, low))
    return Rewind(offsets.partition, low, high, committed, held_end, target, missing, lost, tuple(lost_ranges))
