"""How far each owned partition is: lag, complete-through time and state, as scrapes and the readiness probe read them.

The loop's thread changes them, at most once a turn; scrapes read them in another thread, without locks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from etl.metrics import FAILING, HALTED, LOADING, PARTITIONS_MAX, RECOVERING, RESTORING, STATES, ByPartition, EtlMetrics
from etl.partition import Partition
from etl.plan import MILLISECONDS

# How often the complete-through times advance.
ADVANCE_SECONDS = 0.25
# A partition that has failed so often in a row is stuck: its store is away, or refuses what the etl does.
STUCK_FAILURES = 3
CAUSE_CHARACTERS_MAX = 500


class LogEnd(NamedTuple):
    """The offset after the last message of a partition's log, and the time of day when Kafka was asked for it."""

    offset: int
    asked_at: float


class LogEnds(Protocol):
    """Where the logs end."""

    def of(self, partition: int) -> LogEnd | None:
        """Return the end that Kafka last reported; None if it has not reported one."""


class NoEnds:
    """No log end is known."""

    def of(self, partition: int) -> LogEnd | None:
        """Return None."""
        del partition
        return None


class Progress:
    """The progress of the owned partitions, exported as metrics."""

    def __init__(
        self,
        metrics: EtlMetrics | None = None,
        ends: LogEnds | None = None,
        lateness_seconds_max: float = 0.0,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`lateness_seconds_max` is how long an event may be on its way into the log after ingest received it."""
        self.metrics = metrics or EtlMetrics()
        self.ends: LogEnds = ends or NoEnds()
        self._lateness = lateness_seconds_max
        self._now = now
        self._advanced_at = float("-inf")
        # The loader's own partitions; it also sets why one is halted, which is empty for the others.
        self.partitions: Mapping[int, Partition] = {}
        self.halted: Callable[[int], str] = lambda _number: ""
        self._export()

    def advance(self) -> None:
        """Let the complete-through times advance, unless that was done a moment ago."""
        now = self._now()
        # A clock that was set back must not stop it.
        if 0 <= now - self._advanced_at < ADVANCE_SECONDS:
            return
        self._advanced_at = now
        for partition in self.partitions.values():
            self._advance(partition, now)

    def stored(self, partition: Partition) -> None:
        """Note that the messages of a delivery are stored and acknowledged, before they are dropped."""
        metrics, first, last = self.metrics, partition.pending[0], partition.pending[partition.delivered - 1]
        metrics.batch_rows.observe(partition.delivered)
        metrics.batch_bytes.observe(partition.delivered_bytes)
        if (received := first.timestamp()[1]) > 0:
            metrics.end_to_end.observe(max(self._now() - received / MILLISECONDS, 0.0))
        partition.stored_before = max(partition.stored_before or 0, last.offset() + 1)

    def stuck(self) -> str:
        """Return which partition does not load, and why; empty if all do, also if there is none.

        A halted partition is one of these only if every partition is halted: it needs a person, and replacing the
        process does not help it, so it must not keep a deployment from going on.
        """
        partitions = sorted(self.partitions.items())
        if halted := self.halted_partitions():
            if len(halted) == len(partitions):
                return halted[0]
            partitions = [each for each in partitions if not self.halted(each[0])]
        for number, partition in partitions:
            if partition.failures >= STUCK_FAILURES:
                cause = f": {partition.problem[:CAUSE_CHARACTERS_MAX]}" if partition.problem else ""
                return f"partition {number} has failed {partition.failures} times in a row{cause}"
            if not partition.was_restored:
                return f"partition {number} is not restored yet"
        return ""

    def halted_partitions(self) -> list[str]:
        """Return which partitions are halted, and why."""
        reasons = ((number, self.halted(number)) for number in sorted(self.partitions))
        return [f"partition {number} {reason}" for number, reason in reasons if reason]

    def state(self, partition: Partition) -> str:
        """Return the state of a partition, one of STATES."""
        if self.halted(partition.number):
            return HALTED
        if partition.failures:
            return FAILING
        if not partition.is_restored:
            return RESTORING
        may_be_stored = partition.stored_through >= (partition.stored_before or 0)
        return RECOVERING if partition.inherited is not None or may_be_stored else LOADING

    def _advance(self, partition: Partition, now: float) -> None:
        reached = self._reached(partition, now)
        if reached is not None:
            # A timestamp may be earlier than that of the message before it.
            partition.complete_through = max(partition.complete_through or 0.0, reached - self._lateness)

    def _reached(self, partition: Partition, now: float) -> float | None:
        """Return until when everything in the log is stored; None if that is not known now."""
        end = self.ends.of(partition.number)
        if end is not None and partition.stored_before is not None and end.offset <= partition.stored_before:
            # All messages that were in the log when Kafka was asked.
            return end.asked_at
        if not partition.pending:
            return None
        received = partition.pending[0].timestamp()[1] / MILLISECONDS
        # Another program's message may have no time, or one in the future.
        return received if 0 < received <= now else None

    def _export(self) -> None:
        metrics = self.metrics
        metrics.owned.reads(lambda: len(self.partitions))
        metrics.buffered.reads(lambda: sum(each.held_bytes for each in list(self.partitions.values())))
        metrics.lag.reads_each(self._lags)
        metrics.complete_through.reads_each(self._complete_through)
        metrics.partition_state.reads_each(self._states)

    def _lags(self) -> ByPartition:
        return {(str(each.number),): lag for each in self._exported() if (lag := self._lag(each)) is not None}

    def _lag(self, partition: Partition) -> int | None:
        end = self.ends.of(partition.number)
        if end is None or partition.stored_before is None:
            return None
        # More may have been read since Kafka was asked.
        return max(end.offset, partition.next_offset) - partition.stored_before

    def _complete_through(self) -> ByPartition:
        times = ((each.number, each.complete_through) for each in self._exported())
        return {(str(number),): seconds for number, seconds in times if seconds is not None}

    def _states(self) -> ByPartition:
        current = ((str(each.number), self.state(each)) for each in self._exported())
        return {(number, state): float(state == found) for number, found in current for state in STATES}

    def _exported(self) -> list[Partition]:
        """Return the partitions that have samples; a copy, because the loop may add some meanwhile."""
        return sorted(self.partitions.values(), key=lambda each: each.number)[:PARTITIONS_MAX]
