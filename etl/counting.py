"""Counts the messages that have become rows, each once in a process, although a batch may be read and stored again."""

from __future__ import annotations

from collections.abc import Collection

from etl.batch import Batch
from etl.events.rows import DUPLICATE, REFUSED
from etl.metrics import ACCEPTED, EtlMetrics
from etl.plan import EVENTS, REJECTED

NOTHING_COUNTED = -1


class RowCounts:
    """The rows of acknowledged batches.

    A batch is counted as a whole when ClickHouse has acknowledged it. If its commit then fails, or is lost with the
    partition, its messages are read again: what this process counted before is not counted again.
    """

    def __init__(self, metrics: EtlMetrics) -> None:
        self._metrics = metrics
        # The topic and the last counted offset of each partition: a recreated topic begins at offset 0 again.
        self._through: dict[int, tuple[str, int]] = {}

    def found(self, batch: Batch, stored: Collection[int]) -> None:
        """Note the rows that an earlier attempt has stored, of a classified batch."""
        topic, through = self._through.get(batch.at.partition, ("", NOTHING_COUNTED))
        new = {offset for offset in stored if topic != batch.at.topic.identity or offset > through}
        if not new:
            return
        rejected = {each.offset: each.reason for each in batch.rows.rejected}
        rejected |= dict.fromkeys(batch.found_duplicates, DUPLICATE) | dict.fromkeys(batch.found_refused, REFUSED)
        kinds = ((REJECTED, rejected[offset]) if offset in rejected else (EVENTS, ACCEPTED) for offset in new)
        batch.counts.update(kinds)

    def acknowledged(self, batch: Batch) -> None:
        """Count the rows of a batch."""
        for kind, rows in batch.counts.items():
            self._metrics.rows[kind].value += rows
        topic, through = self._through.get(batch.at.partition, ("", NOTHING_COUNTED))
        last = batch.plan.end if topic != batch.at.topic.identity else max(through, batch.plan.end)
        self._through[batch.at.partition] = batch.at.topic.identity, last
