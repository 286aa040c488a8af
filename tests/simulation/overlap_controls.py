"""Negative controls of what overlaps: an insert that runs, and the batch that is prepared meanwhile."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from etl.delivery import Delivery
from etl.loader import Loader
from etl.partition import Partition
from etl.prepared import Prepared


class InsertsFirst(Delivery):
    """The insert begins beside the commit of its plan, not after it."""

    def deliver(self, partition: Partition, prepared: Prepared) -> Iterator[None]:
        batch = self._batch(partition, prepared)
        yield from self._classify(batch, partition)
        batch.plan = batch.plan.until(self._clock.deadline())
        storing = self._store(batch, partition)
        next(storing, None)
        self._plan(batch, partition)
        yield from storing
        partition.acknowledged_through = batch.plan.end + 1


class CommitsPrepared(Delivery):
    """A commit includes the batch that is decoded and neither planned nor inserted."""

    def commit_acknowledged(self, partition: Partition) -> None:
        if partition.prepared is not None:
            partition.acknowledged_through = partition.prepared.messages[-1].offset() + 1
        super().commit_acknowledged(partition)


class CommitsRunning(Loader):
    """What an insert stores that still runs is committed when its partition is revoked."""

    def on_revoked(self, partitions: Iterable[int]) -> None:
        for partition in [self._partitions[number] for number in partitions if number in self._partitions]:
            if partition.is_unacknowledged:
                partition.acknowledged_through = partition.pending[partition.delivered - 1].offset() + 1
                self.commit_acknowledged([partition])
        super().on_revoked(partitions)


class KeepsPartitions(Loader):
    """A revoked partition keeps its messages and its prepared batch, and continues with them when it is assigned."""

    def _remove(self, partitions: Iterable[int]) -> None:
        numbers = list(partitions)
        kept = {number: self._partitions[number] for number in numbers if number in self._partitions}
        super()._remove(numbers)
        vars(self).setdefault("kept", {}).update(kept)

    def on_assigned(self, partitions: Iterable[int]) -> None:
        numbers = list(partitions)
        super().on_assigned(numbers)
        for number in numbers:
            kept = vars(self).get("kept", {}).pop(number, None)
            if kept is not None and kept.is_restored and kept.delivery is None:
                self._partitions[number] = kept
                self._source.resume(number, kept.next_offset)
