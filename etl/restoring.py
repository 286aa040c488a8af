"""What is read before a partition is worked on: its offset and plan in Kafka, its rows in ClickHouse."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from common.logs import logger
from etl.aside import Aside, at_once
from etl.block import Coordinates
from etl.clock import ServerClock
from etl.errors import LogChangedError
from etl.events.duplicates import DuplicateWindow
from etl.partition import NOTHING_STORED, Partition
from etl.plan import Plan, Position, Topic

# Offsets of the window that are read at a time: some megabytes, some hundredths of a second.
PAGE_OFFSETS = 50_000
# An opening that takes longer is logged when it has, and when it ends.
OPENING_SECONDS_EXPECTED = 5.0


class Log(Protocol):
    """What Kafka holds. Each call raises SourceError when Kafka does not answer."""

    def topic(self) -> Topic:
        """Return the topic as it is now."""

    def position(self, at: Coordinates) -> Position:
        """Return what was committed for a partition."""

    def limits(self, partition: int) -> tuple[int, int]:
        """Return the first offset that the log holds, and the one after its last."""


class History(Protocol):
    """What ClickHouse holds of a partition. Each call raises SinkError when it does not answer."""

    def now(self) -> int:
        """Return ClickHouse's time in milliseconds."""

    def last_held(self, at: Coordinates, first: int) -> int | None:
        """Return the largest stored offset from `first` on."""

    def recent(self, at: Coordinates, first: int, last: int) -> tuple[Sequence[int], Sequence[bytes]]:
        """Return the offsets of events and repeats from `first` to `last`, ascending, and their identities."""


class Opener:
    """Brings a partition to where Kafka and ClickHouse say that it stands."""

    def __init__(
        self,
        log: Log,
        history: History,
        clock: ServerClock,
        duplicate_window: int,
        page_offsets: int = PAGE_OFFSETS,
        monotonic: Callable[[], float] = time.monotonic,
        aside: Aside = at_once,
    ) -> None:
        self._log = log
        self._aside = aside
        self._history = history
        self._clock = clock
        self._duplicate_window = duplicate_window
        self._page_offsets = page_offsets
        self._monotonic = monotonic
        self._topic: Topic | None = None

    def forget_topic(self) -> None:
        """Ask for the topic again, because a recreated topic is another one."""
        self._topic = None

    def open(self, partition: Partition) -> Iterator[None]:
        """Read everything anew, a page at each step; LogChangedError when the log does not hold what was committed.

        Between two steps other partitions can be worked on: what is read here stands before the committed offset, so it
        is stored already, and stays as it is.
        """
        began = self._monotonic()
        # A broker that does not answer keeps this partition waiting, and not those that are open.
        topic = self._topic = self._topic or (yield from self._aside(self._log.topic))
        at = partition.at = Coordinates(topic, partition.number)
        position = yield from self._aside(lambda: self._log.position(at))
        low, high = yield from self._aside(lambda: self._log.limits(partition.number))
        start = low if position.offset is None else position.offset
        refuse_lost_offsets(at, start, low, high)
        if position.plan is not None:
            refuse_lost_messages(at, position.plan, high)
        self._clock.sync(self._history.now())
        partition.stored_through = self._stored_through(at, position, start, high)
        partition.inherited = position.plan
        # Without a plan nobody knows of a deadline; whoever planned before now has none later than this.
        partition.quiet_after = position.plan.deadline if position.plan else self._clock.deadline()
        partition.stand_at(start)
        yield from self._read_window(partition, at, start, began)

    def _stored_through(self, at: Coordinates, position: Position, start: int, high: int) -> int:
        """Return the last offset that ClickHouse may hold though Kafka says less."""
        if not position.is_ours and (position.offset is not None or self._history.last_held(at, 0) is not None):
            # Somebody went back, or deleted what was committed, and perhaps a plan with it whose insert is under way.
            logger().warning("Kafka does not know what was planned", partition=at.partition, next=start)
            return high - 1
        last = self._history.last_held(at, start)
        if last is not None and position.plan is None:
            logger().warning("ClickHouse holds more than was committed", partition=at.partition, held=last, next=start)
        return NOTHING_STORED if last is None else last

    def _read_window(self, partition: Partition, at: Coordinates, start: int, began: float) -> Iterator[None]:
        """Read back the identities of the last events before an offset."""
        window, rows, is_slow = DuplicateWindow(self._duplicate_window), 0, False
        for first in range(max(start - self._duplicate_window, 0), start, self._page_offsets):
            offsets, identities = self._history.recent(at, first, min(first + self._page_offsets, start) - 1)
            window.repeats(identities, offsets)
            rows += len(offsets)
            if not is_slow and self._monotonic() - began >= OPENING_SECONDS_EXPECTED:
                is_slow = True
                self._log_slow("opening a partition takes long", at, rows, began)
            yield
        if is_slow:
            self._log_slow("a partition was opened slowly", at, rows, began)
        partition.window = window

    def _log_slow(self, event: str, at: Coordinates, rows: int, began: float) -> None:
        seconds = round(self._monotonic() - began, 1)
        logger().warning(event, partition=at.partition, rows=rows, of=self._duplicate_window, seconds=seconds)


def refuse_lost_offsets(at: Coordinates, start: int, low: int, high: int) -> None:
    """Raise LogChangedError when the log does not hold the offset to go on from."""
    if not low <= start <= high:
        raise LogChangedError(
            f"partition {at.partition} was stored up to offset {start}, but the log holds {low} to {high - 1}: "
            "its retention was shorter than the lag, or it was cut. Look with ugc-audit, then commit the offset to go "
            "on from with empty metadata, by Kafka's own tools, while no etl runs"
        )


def refuse_lost_messages(at: Coordinates, plan: Plan, high: int) -> None:
    """Raise LogChangedError when the log ends before a plan does: its messages were read, and are gone."""
    if plan.end >= high:
        raise LogChangedError(
            f"partition {at.partition}: the plan {plan} ends beyond the log, which holds offsets up to {high - 1}: its "
            "end was cut, or an older copy took over. Look with ugc-audit, then commit the offset to go on from with "
            "empty metadata, by Kafka's own tools, while no etl runs"
        )
