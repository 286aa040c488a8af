"""The loop of the ETL, in one thread: poll, restore assigned partitions, deliver due batches, commit idle offsets."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from operator import methodcaller
from typing import Protocol

from common.failpoints import failpoint
from common.logs import OutageLog, logger
from etl.delivery import Delivery
from etl.errors import EtlError, LogChangedError, RefusalsError, SinkError, SourceError
from etl.events.rows import Message
from etl.partition import LoaderLimits, Partition
from etl.refusals import HaltedPartitions
from etl.restoring import PartitionRestorer

POLL_SECONDS = 0.1
# How often ClickHouse is asked whether a former owner's inserts have ended.
IN_FLIGHT_POLL_SECONDS = 0.1
# After so long in one iteration no further restoring step begins, so that restored partitions load meanwhile.
RESTORE_SECONDS_PER_TURN = 0.5
RESTORED = object()
# Called for each message, without a Python function.
PARTITION_OF: Callable[[Message], int] = methodcaller("partition")
# A delivery that takes longer, such as a search for refused rows, gives other partitions their turn.
TURN_SECONDS = 0.25
# The wait before another attempt with a partition whose events are refused too often.
REFUSED_WAIT_SECONDS = 60.0
# A wait for inserts in flight that takes longer is logged; no insert should run so long.
IN_FLIGHT_SECONDS_EXPECTED = 60.0


class Source(Protocol):
    """Where messages come from."""

    def poll(self, count: int, seconds: float) -> Sequence[Message]:
        """Return up to `count` messages of resumed partitions; the callbacks of a rebalance run inside."""

    def resume(self, partition: int, offset: int) -> None:
        """Deliver a partition's messages from an offset on."""

    def pause(self, partition: int) -> None:
        """Deliver no messages of a partition until it is resumed."""


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
    ) -> None:
        self._source = source
        self._restorer = restorer
        self._delivery = delivery
        self._limits = limits
        self._monotonic = monotonic
        self._beat = beat
        # Assigned by the callbacks alone: the broker accepts commits for partitions that a member no longer owns.
        self._partitions: dict[int, Partition] = {}
        self._outage = OutageLog("storing events")
        # Partitions that have failed and not succeeded since; together they are logged as one outage.
        self._failing: set[int] = set()
        self._halted = HaltedPartitions()
        self._stop = threading.Event()

    def run(self, stop: threading.Event) -> None:
        """Load until `stop` is set, then store what is buffered; LoaderStoppedError if a person must decide."""
        self._stop = stop
        while not stop.is_set():
            self.step(POLL_SECONDS)
        # In an outage each partition would wait for its timeout, and delay the stop; Kafka still has the messages.
        if not self._failing:
            self._deliver_due(lambda partition: partition.has_new_batch())
        self.commit_acknowledged(self._partitions.values())
        logger().info("stopped loading")

    def step(self, seconds: float) -> None:
        """Run one iteration, which waits at most `seconds` for messages."""
        self._beat()
        is_busy = any(partition.restoring or partition.delivery for partition in self._all())
        messages = self._source.poll(self._limits.poll_rows, 0.0 if is_busy else seconds)
        self._buffer(messages)
        self._restore_some()
        flush = self._limits.flush_when(is_backlog=len(messages) >= self._limits.poll_rows)
        self._deliver_due(lambda partition: partition.is_due(flush, self._monotonic()))
        self.commit_acknowledged(each for each in self._all() if each.is_idle(self._limits.flush, self._monotonic()))
        for partition in self._all():
            if partition.failures and partition.has_been_idle(self._limits.retry_seconds_max, self._monotonic()):
                self._succeeded(partition)
        self._outage.remind()
        self._halted.raise_if_all(self._monotonic(), {each.number for each in self._all() if each.may_have_work()})

    def on_assigned(self, partitions: Iterable[int]) -> None:
        """Add partitions; they are restored after the poll."""
        for number in partitions:
            self._partitions[number] = Partition(number)
        self._restorer.forget_topic()
        failpoint("in-rebalance")
        logger().info("partitions assigned", partitions=sorted(self._partitions))

    def on_revoked(self, partitions: Iterable[int]) -> None:
        """Commit what is acknowledged of partitions, and give them up. Raises nothing."""
        leaving = [self._partitions[number] for number in partitions if number in self._partitions]
        failpoint("in-rebalance")
        self.commit_acknowledged(leaving)
        self.on_lost(partition.number for partition in leaving)

    def on_lost(self, partitions: Iterable[int]) -> None:
        """Remove partitions without a commit, because another member may own them already."""
        for number in partitions:
            self._partitions.pop(number, None)
            self._failing.discard(number)
            self._halted.remove(number)
        if not self._failing:
            self._outage.forget()
        logger().info("partitions gone", partitions=sorted(self._partitions))

    def on_offset_out_of_range(self, number: int) -> None:
        """Start a partition over, because Kafka does not have its next offset."""
        if partition := self._partitions.get(number):
            self._start_over(partition, SourceError(f"partition {number} has no messages at its offset"))

    def commit_acknowledged(self, partitions: Iterable[Partition]) -> None:
        """Commit the offsets that ClickHouse has acknowledged. A failure costs the next owner a read, no row."""
        for partition in list(partitions):
            self._try(partition, self._delivery.commit_acknowledged)

    def _all(self) -> list[Partition]:
        return list(self._partitions.values())

    def _buffer(self, messages: Sequence[Message]) -> None:
        for number, group in groupby(messages, PARTITION_OF):
            partition = self._partitions.get(number)
            if partition and partition.is_restored and not partition.buffer(list(group), self._monotonic()):
                self._start_over(partition, SourceError(f"partition {number} lacks offset {partition.next_offset}"))

    def _deliver_due(self, is_due: Callable[[Partition], bool]) -> None:
        for partition in self._all():
            while is_due(partition) and self._try(partition, self._deliver) and partition.delivery is None:
                pass
            if self._stop.is_set() and self._failing:
                return

    def _try(self, partition: Partition, act: Callable[[Partition], None]) -> bool:
        """Act; after a failure the state of the partition is unknown, so it starts over."""
        self._beat()  # for each partition: together they may wait long for a store that does not answer
        began = self._monotonic()
        try:
            act(partition)
        except (SinkError, SourceError) as error:
            # A partition whose store does not answer blocks the loop: the others get as much time as it took.
            self._start_over(partition, error, self._monotonic() - began)
            return False
        except RefusalsError as error:
            self._halted.add(partition.number, error, self._monotonic())
            self._start_over(partition, error, REFUSED_WAIT_SECONDS)
            return False
        return True

    def _start_over(self, partition: Partition, error: EtlError, wait_seconds_min: float = 0.0) -> None:
        self._outage.failed(error, partition=partition.number)
        self._failing.add(partition.number)
        partition.reset()
        self._source.pause(partition.number)
        seconds = max(self._limits.retry_seconds(partition.failures), wait_seconds_min)
        partition.wait_until = self._monotonic() + seconds
        partition.failures += 1

    def _restore_some(self) -> None:
        """Restore partitions further, one step each, for at most RESTORE_SECONDS_PER_TURN."""
        began = self._monotonic()
        for partition in self._all():
            now = self._monotonic()
            if self._stop.is_set() or now - began >= RESTORE_SECONDS_PER_TURN:
                return
            if not partition.is_restored and now >= partition.wait_until:
                self._try(partition, self._restore)

    def _restore(self, partition: Partition) -> None:
        """Do one step of restoring a partition; after the last one, resume it."""
        if partition.restoring is None:
            partition.restoring = self._restorer.restore(partition)
        if next(partition.restoring, RESTORED) is not RESTORED:
            return
        partition.restoring = None
        self._source.resume(partition.number, partition.next_offset)
        partition.is_restored, partition.is_paused, partition.since = True, False, self._monotonic()

    def _deliver(self, partition: Partition) -> None:
        """Store the next batch of a partition, or a part of it if that takes long."""
        delivery = partition.delivery or self._begin_delivery(partition)
        if delivery is None:
            self._wait_for_inserts_in_flight(partition)
            return
        until = self._monotonic() + TURN_SECONDS
        for _ in delivery:
            if self._monotonic() >= until:
                # Paused, so that messages wait in Kafka and not in memory.
                partition.delivery, partition.is_paused = delivery, True
                self._source.pause(partition.number)
                return
        partition.delivery = None
        partition.drop(partition.delivered, self._monotonic())
        if partition.is_paused:
            self._source.resume(partition.number, partition.next_offset)
            partition.is_paused = False
        self._halted.stored(partition.number, self._monotonic())
        self._succeeded(partition)

    def _begin_delivery(self, partition: Partition) -> Iterator[None] | None:
        """Begin to store the next batch; None while a former owner's inserts may be in flight."""
        batch = partition.batch(self._limits.flush)
        if not batch:
            raise LogChangedError(
                f"partition {partition.number}: the log holds nothing of the plan {partition.inherited}"
            )
        partition.delivered = len(batch)
        if partition.has_new_batch():
            return self._delivery.deliver(partition, batch)
        return self._delivery.recover(partition, batch) if self._delivery.no_insert_in_flight(partition) else None

    def _succeeded(self, partition: Partition) -> None:
        partition.failures = 0
        self._failing.discard(partition.number)
        if not self._failing:
            self._outage.over()

    def _wait_for_inserts_in_flight(self, partition: Partition) -> None:
        """Try again a little later; meanwhile the partition's messages stay in Kafka."""
        now = self._monotonic()
        if not partition.is_paused:
            self._source.pause(partition.number)
            partition.is_paused, partition.since = True, now
        elif now - partition.since >= IN_FLIGHT_SECONDS_EXPECTED and not partition.failures:
            waits = SinkError(f"waits for inserts to end, until {partition.in_flight_until}")
            self._outage.failed(waits, partition=partition.number)
            self._failing.add(partition.number)
            partition.failures = 1
        partition.wait_until = now + IN_FLIGHT_POLL_SECONDS
