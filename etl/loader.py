"""The loop of the ETL, in one thread: poll, restore assigned partitions, deliver due batches, commit idle offsets.

Only inserts run beside it (etl/deliveries.py), one at a time.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import groupby
from operator import methodcaller

from common.failpoints import failpoint
from common.logs import log_limited, logger
from etl.deliveries import Deliveries
from etl.delivery import Delivery
from etl.errors import SourceError
from etl.events.rows import Message
from etl.failures import Failures
from etl.metrics import ASSIGNED, LOST, REVOKED
from etl.partition import FlushLimits, LoaderLimits, Partition
from etl.progress import Progress
from etl.restoring import PartitionRestorer
from etl.stores import Source

POLL_SECONDS = 0.1
# Messages of one poll while an insert runs: the next insert should not wait long for its end.
POLL_ROWS_DURING_INSERT = 10_000
# After so long in one iteration no further restoring step begins, so that restored partitions load meanwhile.
RESTORE_SECONDS_PER_TURN = 0.5
RESTORED = object()
# How long the end of a running insert is awaited before its partition is revoked, and before the process ends.
REVOKE_SECONDS_MAX, STOP_SECONDS_MAX = 30.0, 60.0
# If the buffers are full for so long during an insert, partitions are paused, so that rebalances are served.
FULL_SECONDS_MAX = 1.0
# Called for each message, without a Python function.
PARTITION_OF: Callable[[Message], int] = methodcaller("partition")


class Loader:
    """Loads the partitions that the group assigns to it. The methods `on_...` are called inside `poll`."""

    def __init__(
        self,
        source: Source,
        restorer: PartitionRestorer,
        delivery: Delivery,
        limits: LoaderLimits,
        monotonic: Callable[[], float] = time.monotonic,
        beat: Callable[[], None] = lambda: None,
        progress: Progress | None = None,
    ) -> None:
        self._source = source
        self._restorer = restorer
        self._delivery = delivery
        self._limits = limits
        self._monotonic = monotonic
        self._beat = beat
        # Assigned by the callbacks alone: the broker accepts commits for partitions that a member no longer owns.
        self._partitions: dict[int, Partition] = {}
        self._failures = Failures(source, limits, monotonic, beat)
        self._progress = progress or Progress()
        self._progress.partitions, self._progress.halted = self._partitions, self._failures.halted.reason
        self._metrics = self._progress.metrics
        self._metrics.buffered_limit.value = limits.buffer_bytes
        self._deliveries = Deliveries(source, delivery, self._failures, limits.flush, monotonic, self._progress)
        self._full_since: float | None = None
        self._stop = threading.Event()

    def run(self, stop: threading.Event) -> None:
        """Load until `stop` is set, then store what is buffered; LoaderStoppedError if a person must decide."""
        self._stop = stop
        while not stop.is_set():
            self.step(POLL_SECONDS)
        self._finish()
        self.commit_acknowledged(self._partitions.values())
        logger().info("stopped loading")

    def step(self, seconds: float) -> None:
        """Run one iteration, which waits at most `seconds` for messages."""
        if not self._deliveries.is_inserting:
            # While an insert runs, only ClickHouse's packets are progress: a call that never returns must be detected.
            self._beat()
        messages = self._poll(seconds)
        self._buffer(messages)
        if self._deliveries.is_inserting:
            is_prepared = self._deliveries.prepare_next(self._all(), self._flush)
            if not is_prepared and len(messages) < POLL_ROWS_DURING_INSERT:
                # Kafka's client has no more for now; without a wait many polls would return a few messages each.
                self._deliveries.await_insert()
        if not self._deliveries.is_inserting:
            self._restore_some()
            self._deliveries.deliver_due(self._all(), self._is_due)
            self._failures.records.record()
        self.commit_acknowledged(each for each in self._all() if each.is_idle(self._limits.flush, self._monotonic()))
        for partition in self._all():
            if partition.failures and partition.has_been_idle(self._limits.retry_seconds_max, self._monotonic()):
                self._failures.succeeded(partition)
        self._failures.outage.remind()
        with_work = {each.number for each in self._all() if each.may_have_work()}
        self._failures.halted.raise_if_all(self._monotonic(), with_work)
        self._progress.advance()

    def on_assigned(self, partitions: Iterable[int]) -> None:
        """Add partitions; they are restored after the poll."""
        for number in partitions:
            self._partitions[number] = Partition(number)
        self._restorer.forget_topic()
        self._metrics.rebalances[ASSIGNED].value += 1
        failpoint("in-rebalance")
        self._log_partitions("partitions assigned")

    def on_revoked(self, partitions: Iterable[int]) -> None:
        """Let a running insert end, commit what is acknowledged of partitions, and give them up. Raises nothing."""
        leaving = [self._partitions[number] for number in partitions if number in self._partitions]
        self._metrics.rebalances[REVOKED].value += 1
        failpoint("in-rebalance")
        with self._metrics.close:
            for partition in leaving:
                self._deliveries.finish_insert(partition, REVOKE_SECONDS_MAX)
            self.commit_acknowledged(leaving)
        self._remove(partition.number for partition in leaving)

    def on_lost(self, partitions: Iterable[int]) -> None:
        """Remove partitions without a commit, because another member may own them already."""
        self._metrics.rebalances[LOST].value += 1
        self._remove(partitions)

    def _remove(self, partitions: Iterable[int]) -> None:
        for number in partitions:
            self._partitions.pop(number, None)
            self._failures.remove(number)
        self._log_partitions("partitions gone")

    def on_offset_out_of_range(self, number: int) -> None:
        """Start a partition over, because Kafka does not have its next offset."""
        if partition := self._partitions.get(number):
            self._failures.start_over(partition, SourceError(f"partition {number} has no messages at its offset"))

    def commit_acknowledged(self, partitions: Iterable[Partition]) -> None:
        """Commit the offsets that ClickHouse has acknowledged. A failure costs the next owner a read, no row."""
        for partition in list(partitions):
            self._failures.attempt(partition, self._delivery.commit_acknowledged)

    def _log_partitions(self, event: str) -> None:
        """Log which partitions this process has; a group that rebalances all the time repeats few of such lines."""
        owned = sorted(self._partitions)
        log_limited(logging.INFO, event, kind=tuple(owned), partitions=owned)

    def _all(self) -> list[Partition]:
        return list(self._partitions.values())

    def _poll(self, seconds: float) -> Sequence[Message]:
        """Return messages; none if the buffers are full while an insert runs, which makes room."""
        is_inserting, now = self._deliveries.is_inserting, self._monotonic()
        if self._failures.is_any_held and self._is_full():
            # What a slow shard holds back must not grow; partitions of other shards are resumed when they are stored.
            self._pause_full()
        if not (is_inserting and self._is_full()):
            self._full_since = None
        elif self._full_since is None or now - self._full_since < FULL_SECONDS_MAX:
            self._full_since = now if self._full_since is None else self._full_since
            return ()
        else:
            self._pause_full()
        is_busy = is_inserting or any(
            partition.delivery or (partition.restoring and partition.wait_until <= now) for partition in self._all()
        )
        count = min(self._limits.poll_rows, POLL_ROWS_DURING_INSERT) if is_inserting else self._limits.poll_rows
        with self._metrics.poll:
            return self._source.poll(count, 0.0 if is_busy else seconds)

    def _is_full(self) -> bool:
        """Whether the messages of all partitions take as much memory as they may."""
        return sum(partition.held_bytes for partition in self._all()) >= self._limits.buffer_bytes

    def _pause_full(self) -> None:
        """Pause the partitions that have messages; each is resumed when a batch of it is stored."""
        for partition in self._all():
            # A plan is recovered as a whole, whatever its size.
            if partition.pending and partition.inherited is None and not partition.is_paused:
                partition.is_paused = True
                self._source.pause(partition.number)

    def _buffer(self, messages: Sequence[Message]) -> None:
        for number, group in groupby(messages, PARTITION_OF):
            partition = self._partitions.get(number)
            if partition and partition.is_restored and not partition.buffer(list(group), self._monotonic()):
                missing = SourceError(f"partition {number} lacks offset {partition.next_offset}")
                self._failures.start_over(partition, missing)

    def _is_due(self, partition: Partition) -> bool:
        if self._stop.is_set() and self._failures.failing:
            return False
        if self._failures.is_held(partition) and partition.delivery is None:
            return False
        return bool(partition.pending) and partition.is_due(self._flush(partition), self._monotonic())

    def _flush(self, partition: Partition) -> FlushLimits:
        """Return when a batch of a partition is due: at once if the buffers are full, later if Kafka can fill it."""
        if self._is_full():
            return replace(self._limits.flush, seconds=0.0)
        if not partition.pending:
            return self._limits.flush
        lag = self._source.lag(partition.number, partition.next_offset)
        return self._limits.flush_when(is_backlog=lag >= self._limits.flush.rows)

    def _finish(self) -> None:
        """Let the running insert end, then store what is buffered, unless inserts fail: Kafka has the messages."""
        until = self._monotonic() + STOP_SECONDS_MAX
        while True:
            if not self._deliveries.is_inserting:
                self._deliveries.deliver_due(self._all(), self._is_due_at_stop)
                if not self._deliveries.is_inserting:
                    return
            if self._monotonic() >= until:
                return
            self._deliveries.await_insert()

    def _is_due_at_stop(self, partition: Partition) -> bool:
        # In an outage each partition would wait for its timeout, and delay the stop.
        return not self._failures.failing and partition.has_new_batch()

    def _restore_some(self) -> None:
        """Restore partitions further, one step each, for at most RESTORE_SECONDS_PER_TURN."""
        began = self._monotonic()
        for partition in self._all():
            now = self._monotonic()
            if self._stop.is_set() or now - began >= RESTORE_SECONDS_PER_TURN:
                return
            if not partition.is_restored and now >= partition.wait_until and not self._failures.is_held(partition):
                self._failures.attempt(partition, self._restore)

    def _restore(self, partition: Partition) -> None:
        """Do one step of restoring a partition; after the last one, resume it."""
        if partition.restoring is None:
            partition.restoring = self._restorer.restore(partition)
            partition.began["restore"] = self._metrics.monotonic()
        if next(partition.restoring, RESTORED) is not RESTORED:
            return
        partition.restoring = None
        self._source.resume(partition.number, partition.next_offset)
        partition.is_restored, partition.is_paused, partition.since = True, False, self._monotonic()
        partition.was_restored = True
        self._metrics.ended("restore", partition.began.pop("restore"))
