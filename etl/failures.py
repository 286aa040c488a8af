"""What happens to a partition that fails: it starts over after a wait, and the outage is logged once."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

from common.logs import log_limited
from common.outage_log import OutageLog
from etl.errors import EtlError, LogChangedError, RefusalsError, SinkError, SourceError
from etl.halting import HaltRecords
from etl.partition import LoaderLimits, Partition
from etl.refusals import HaltedPartitions
from etl.stores import Source

# The wait before another attempt with a partition whose events are refused too often.
REFUSED_WAIT_SECONDS = 60.0
# An attempt that took longer lets the other partitions of its shard wait for as long: servers that do not answer take
# at most half of the time from the partitions of other shards.
SLOW_SECONDS = 1.0


class Failures:
    """The partitions that have failed and not succeeded since. Together they are logged as one outage."""

    def __init__(
        self, source: Source, limits: LoaderLimits, monotonic: Callable[[], float], beat: Callable[[], None]
    ) -> None:
        self._source = source
        self._limits = limits
        self._monotonic = monotonic
        self._beat = beat
        self.outage = OutageLog("storing events")
        self.failing: set[int] = set()
        self.halted = HaltedPartitions()
        self.records = HaltRecords(source, limits, monotonic)
        # Until when the partitions of a shard wait, by the shard's index.
        self._slow_until: dict[int, float] = {}

    def is_held(self, partition: Partition) -> bool:
        """Whether a partition waits, because the servers of its shard have just taken long and failed."""
        return self._monotonic() < self._slow_until.get(partition.number % self._limits.shards, 0.0)

    @property
    def is_any_held(self) -> bool:
        """Whether the partitions of any shard wait."""
        return any(self._monotonic() < until for until in self._slow_until.values())

    def attempt(self, partition: Partition, act: Callable[[Partition], None]) -> bool:
        """Act; after a failure the state of the partition is unknown, so it starts over."""
        self._beat()  # for each partition: together they may wait long for a store that does not answer
        began = self._monotonic() if partition.insert_began is None else partition.insert_began
        try:
            act(partition)
        except (SinkError, SourceError) as error:
            # A partition whose store does not answer blocks the others: they get as much time as it took.
            took = self._monotonic() - began
            self.start_over(partition, error, took)
            if self._limits.shards > 1 and isinstance(error, SinkError) and took >= SLOW_SECONDS:
                self._slow_until[partition.number % self._limits.shards] = self._monotonic() + took
            return False
        except (RefusalsError, LogChangedError) as error:
            self.halted.add(partition.number, error, self._monotonic())
            log_limited(
                logging.ERROR,
                "a partition is halted, the others go on",
                kind=partition.number,
                partition=partition.number,
                error=str(error),
            )
            seconds = REFUSED_WAIT_SECONDS
            if isinstance(error, LogChangedError):
                # A log that was cut may grow past the committed offset; another attempt would then skip messages.
                self.records.add(partition, error)
                seconds = math.inf
            self.start_over(partition, error, seconds)
            return False
        return True

    def start_over(self, partition: Partition, error: EtlError, wait_seconds_min: float = 0.0) -> None:
        """Discard the state of a partition, which is restored after a wait."""
        self.note(partition, error)
        partition.reset()
        self._source.pause(partition.number)
        seconds = max(self._limits.retry_seconds(partition.failures), wait_seconds_min)
        partition.wait_until = self._monotonic() + seconds
        partition.failures += 1

    def restore_again(self, partition: Partition) -> None:
        """Discard the state of a partition that has not failed, and restore it at once."""
        partition.reset()
        self._source.pause(partition.number)

    def note(self, partition: Partition, error: EtlError) -> None:
        """Log a failure of a partition as part of the outage."""
        trace_id = partition.trace.trace_id if partition.trace is not None else ""
        self.outage.failed(error, partition=partition.number, trace_id=trace_id)
        self.failing.add(partition.number)
        partition.problem = str(error)

    def succeeded(self, partition: Partition) -> None:
        """Note that a partition has stored a batch, or has had nothing to do for long."""
        partition.failures = 0
        self.halted.remove(partition.number)
        self.failing.discard(partition.number)
        if not self.failing:
            self.outage.over()

    def stored(self, partition: Partition) -> None:
        """Note that a batch of a partition was stored."""
        self.halted.stored(partition.number, self._monotonic())
        self.succeeded(partition)

    def remove(self, number: int) -> None:
        """Forget a partition that this process no longer owns."""
        self.failing.discard(number)
        self.halted.remove(number)
        self.records.remove(number)
        if not self.failing:
            self.outage.forget()
