"""Restores a partition before it loads: its offset and plan from Kafka, its rows from ClickHouse."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Protocol

from etl.background import Background, inline
from etl.errors import LogChangedError
from etl.partition import NOTHING_STORED, Partition
from etl.placement import Placement
from etl.plan import Coordinates, Plan, Position, ServerClock, Topic
from etl.windows import PAGE_OFFSETS, Committed, Identities, WindowRestorer, warn


class Log(Committed, Protocol):
    """What Kafka holds. Each call raises SourceError if Kafka does not answer."""

    def topic(self) -> Topic:
        """Return the topic as it is now."""

    def position(self, at: Coordinates) -> Position:
        """Return what was committed for a partition."""

    def limits(self, partition: int) -> tuple[int, int]:
        """Return the first offset of the log, and the one after its last."""


class History(Identities, Protocol):
    """What ClickHouse holds of a partition. Each call raises SinkError if it does not answer."""

    def now(self, at: Coordinates) -> int:
        """Return the time in milliseconds of a server that stores the partition's rows."""

    def last_stored(self, at: Coordinates, first: int) -> int | None:
        """Return the largest stored offset from `first` on."""


class PartitionRestorer:
    """Restores the state of partitions from what Kafka and ClickHouse hold."""

    def __init__(
        self,
        log: Log,
        history: History,
        clock: ServerClock,
        duplicate_window: int,
        page_offsets: int = PAGE_OFFSETS,
        monotonic: Callable[[], float] = time.monotonic,
        background: Background = inline,
        shards: int = 1,
    ) -> None:
        self._log = log
        self._background = background
        self._history = history
        self._clock = clock
        self._windows = WindowRestorer(log, history, duplicate_window, page_offsets, monotonic, background)
        self._shards = shards
        self._topic: Topic | None = None

    def forget_topic(self) -> None:
        """Read the topic again next time, because a recreated topic has another id."""
        self._topic = None

    def restore(self, partition: Partition) -> Iterator[None]:
        """Read everything again, one page per step; LogChangedError if the log does not hold what was committed.

        Other partitions may be worked on between two steps: what is read here lies before the committed offset, so it
        is stored already and does not change.
        """
        # In the background, so that a broker that does not answer delays this partition only.
        topic = self._topic = self._topic or (yield from self._background(self._log.topic))
        at = Coordinates(topic, partition.number)
        position = yield from self._background(lambda: self._log.position(at))
        low, high = yield from self._background(lambda: self._log.limits(partition.number))
        start = low if position.offset is None else position.offset
        partition.stored_before = max(partition.stored_before or 0, start)
        partition.topic_id, partition.position = topic.identity, position
        require_not_halted(at, position)
        require_offset_in_log(at, start, low, high)
        if position.plan is not None:
            require_plan_in_log(at, position.plan, high)
        recorded = position.placement
        is_recorded = recorded is not None and recorded.shards == self._shards
        at = replace(at, placement=recorded if recorded and is_recorded else Placement.unknown(self._shards))
        self._history.require_servers(at)
        self._clock.sync(self._history.now(at))
        partition.stored_through = self._stored_through(at, position, start, high)
        partition.inherited = position.plan
        if not is_recorded:
            # From here on rows are inserted into the partition's own shard only.
            end = NOTHING_STORED if position.plan is None else position.plan.end
            at = replace(at, placement=Placement(self._shards, max(start, end + 1, partition.stored_through + 1)))
        partition.at = at
        # Without a plan the deadline is unknown; no plan that was made before now has a later one than this.
        partition.in_flight_until = position.plan.deadline if position.plan else self._clock.deadline()
        partition.seek(start)
        yield from self._windows.restore(partition, at, start)

    def _stored_through(self, at: Coordinates, position: Position, start: int, high: int) -> int:
        """Return the last offset that ClickHouse may hold beyond the committed offset."""
        if not position.is_from_etl and (position.offset is not None or self._history.last_stored(at, 0) is not None):
            # Another tool reset or deleted the commit, and perhaps a plan with it whose insert is still in flight.
            warn(at, "no plan in Kafka's commit", next=start)
            return high - 1
        last = self._history.last_stored(at, start)
        if last is not None and position.plan is None:
            warn(at, "ClickHouse holds more than was committed", held=last, next=start)
        return NOTHING_STORED if last is None else last


def require_not_halted(at: Coordinates, position: Position) -> None:
    """Raise LogChangedError if an owner has recorded a halt, whatever the log holds now."""
    if position.halted is not None:
        raise LogChangedError(
            f"partition {at.partition}: the commit of offset {position.offset} records that it is halted, until an "
            f"offset is committed with empty metadata: {position.halted}"
        )


def require_offset_in_log(at: Coordinates, start: int, low: int, high: int) -> None:
    """Raise LogChangedError if the log does not hold the offset to continue from."""
    if not low <= start <= high:
        raise LogChangedError(
            f"partition {at.partition} was stored up to offset {start}, but the log holds {low} to {high - 1}: "
            "its retention was shorter than the lag, or it was truncated. Check with ugc-audit, then commit the offset "
            "to continue from with empty metadata, with Kafka's own tools, while no etl runs"
        )


def require_plan_in_log(at: Coordinates, plan: Plan, high: int) -> None:
    """Raise LogChangedError if the log ends before a plan does: its messages were read, and are gone."""
    if plan.end >= high:
        raise LogChangedError(
            f"partition {at.partition}: the plan {plan} ends beyond the log, which holds offsets up to {high - 1}: its "
            "end was truncated, or an older replica became the leader. Check with ugc-audit, then commit the offset to "
            "continue from with empty metadata, with Kafka's own tools, while no etl runs"
        )
