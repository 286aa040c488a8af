"""An operator who adds partitions to the topic as `ugc-add-partitions` does."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from common.partition_change import PartitionChange
from tests.simulation.log import Log
from tests.simulation.source import TOPIC
from tests.simulation.world import World

# How many are added at most; with none, only the record is written.
PARTITIONS_ADDED_MAX = 2


def new_logs(logs: list[Log], horizon: int, count: int) -> list[Log]:
    """Append empty partitions to `logs`, and return `logs`."""
    logs += [Log(len(logs) + number, horizon, logs=logs) for number in range(count)]
    return logs


class AddedPartitions:
    """Adds some, writes the record of the change into all, and perhaps again when producers have noticed."""

    def __init__(self, world: World, logs: list[Log], rebalance: Callable[[], None]) -> None:
        self._world = world
        self._logs = logs
        self._rebalance = rebalance

    def add(self) -> None:
        """Add partitions now; the records follow."""
        world = self._world
        new_logs(self._logs, self._logs[0].horizon, world.chance.randint(0, PARTITIONS_ADDED_MAX))
        world.counts["changes of the partitions"] += 1
        world.note("operator", "adds partitions", len(self._logs))
        world.after(world.between(0, 3), self._rebalance)
        self._record()
        if world.chance.random() < 0.5:
            world.after(world.between(1, 5), self._record)

    def _record(self) -> None:
        """Note where the partitions end, then write the record into each, one after the other."""
        ends = tuple(len(log.messages) for log in self._logs)
        change = PartitionChange(TOPIC.identity, len(ends), ends)
        for log in self._logs:
            self._world.after(self._world.between(0, 0.5), partial(log.append_change, change))
