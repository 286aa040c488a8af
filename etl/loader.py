"""The loop of the ETL: take messages, open partitions, deliver what is due, close what is idle; in one thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Protocol

from common.failpoints import failpoint
from common.logs import OutageLog, logger
from etl.delivery import Delivery
from etl.errors import EtlError, LogChangedError, RefusalsError, SinkError, SourceError
from etl.kafka.message import Message
from etl.partition import FlushLimits, LoaderLimits, Partition
from etl.refusals import Standstill
from etl.restoring import Opener

POLL_SECONDS = 0.1
# How often it is asked whether a former owner's inserts have ended.
QUIET_POLL_SECONDS = 0.1
# How long opening partitions may keep open ones waiting: another step is not begun after that.
OPENING_SECONDS_A_TURN = 0.5
OPENED = object()
# A delivery that needs longer, as a search for bad rows does, gives other partitions their turn.
TURN_SECONDS = 0.25
# A partition whose events are refused too often is tried again after so long.
REFUSED_WAIT_SECONDS = 60.0
# Longer than any former insert should run; after that the log says what is waited for.
QUIET_SECONDS_EXPECTED = 60.0
# While there is a backlog a batch may wait so many times longer to be full.
BACKLOG_PATIENCE = 10


class Source(Protocol):
    """Where messages come from."""

    def poll(self, count: int, seconds: float) -> Sequence[Message]:
        """Return up to `count` messages of partitions that were started; partitions may come and go meanwhile."""

    def start(self, partition: int, offset: int) -> None:
        """Deliver a partition's messages from an offset on."""

    def hold(self, partition: int) -> None:
        """Deliver no messages of a partition until it is started again."""


class Loader:
    """Loads the partitions that the group gives it. `assigned`, `revoked` and `lost` are called inside `poll`."""

    def __init__(
        self,
        source: Source,
        opener: Opener,
        delivery: Delivery,
        limits: LoaderLimits,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._opener = opener
        self._delivery = delivery
        self._limits = limits
        self._monotonic = monotonic
        # Ours by the callbacks alone: the broker lets a member commit partitions that it no longer owns.
        self._partitions: dict[int, Partition] = {}
        self._outage = OutageLog("storing events")
        # Partitions that have failed and not worked since: one outage, however many they are and however often.
        self._failing: set[int] = set()
        self._standstill = Standstill()
        self._stop = threading.Event()

    def run(self, stop: threading.Event) -> None:
        """Load until told to stop, then store what was taken; LoaderStoppedError when a person must decide."""
        self._stop = stop
        while not stop.is_set():
            self.step(POLL_SECONDS)
        # In an outage each partition would wait for an answer in turn, while whoever stops us waits; Kafka has it all.
        if not self._failing:
            self._work(lambda partition: partition.is_fresh())
        self.close(self._partitions.values())
        logger().info("stopped loading")

    def step(self, seconds: float) -> None:
        """Do what there is to do now, waiting for messages at most for `seconds`."""
        is_busy = any(partition.opening or partition.delivery for partition in self._all())
        messages = self._source.poll(self._limits.poll_rows, 0.0 if is_busy else seconds)
        self._take(messages)
        self._open_some()
        flush = self._flush_limits(is_backlog=len(messages) >= self._limits.poll_rows)
        self._work(lambda partition: partition.is_due(flush, self._monotonic()))
        self.close(each for each in self._all() if each.is_idle(self._limits.flush, self._monotonic()))
        for partition in self._all():
            if partition.failures and partition.has_stood(self._limits.retry_seconds_max, self._monotonic()):
                self._works(partition)
        self._outage.remind()
        self._standstill.judge(self._monotonic(), {each.number for each in self._all() if each.may_load()})

    def _flush_limits(self, *, is_backlog: bool) -> FlushLimits:
        """Return when batches are due: with more in Kafka than was asked for, small ones would only cost merges."""
        flush = self._limits.flush
        return replace(flush, seconds=flush.seconds * BACKLOG_PATIENCE) if is_backlog else flush

    def assigned(self, partitions: Iterable[int]) -> None:
        """Hear that partitions are ours; they are opened after the poll."""
        for number in partitions:
            self._partitions[number] = Partition(number)
        self._opener.forget_topic()
        failpoint("in-rebalance")
        logger().info("partitions assigned", partitions=sorted(self._partitions))

    def revoked(self, partitions: Iterable[int]) -> None:
        """Hear that partitions are to be given up: say what is stored, forget the rest. Nothing may escape."""
        leaving = [self._partitions[number] for number in partitions if number in self._partitions]
        failpoint("in-rebalance")
        self.close(leaving)
        self.lost(partition.number for partition in leaving)

    def lost(self, partitions: Iterable[int]) -> None:
        """Hear that partitions are another's already: commit nothing."""
        for number in partitions:
            self._partitions.pop(number, None)
            self._failing.discard(number)
            self._standstill.gone(number)
        if not self._failing:
            self._outage.forget()
        logger().info("partitions gone", partitions=sorted(self._partitions))

    def reset(self, number: int) -> None:
        """Hear that Kafka cannot deliver from where it should: look at the partition afresh."""
        if partition := self._partitions.get(number):
            self._start_over(partition, SourceError(f"partition {number} has no messages at its offset"))

    def close(self, partitions: Iterable[Partition]) -> None:
        """Tell Kafka what is stored. A failure costs the next owner a look, no row."""
        for partition in list(partitions):
            self._try(partition, self._delivery.close)

    def _all(self) -> list[Partition]:
        return list(self._partitions.values())

    def _take(self, messages: Sequence[Message]) -> None:
        for number, group in groupby(messages, lambda message: message.partition()):
            partition = self._partitions.get(number)
            if partition and partition.is_open and not partition.take(list(group), self._monotonic()):
                self._start_over(partition, SourceError(f"partition {number} lacks offset {partition.next_offset}"))

    def _work(self, is_due: Callable[[Partition], bool]) -> None:
        for partition in self._all():
            while is_due(partition) and self._try(partition, self._load) and partition.delivery is None:
                pass
            if self._stop.is_set() and self._failing:
                return

    def _try(self, partition: Partition, act: Callable[[Partition], None]) -> bool:
        """Act; after a failure nothing is known, so the partition starts over."""
        began = self._monotonic()
        try:
            act(partition)
        except (SinkError, SourceError) as error:
            # Whoever holds up the loop with a store that does not answer leaves the others as much time as it took.
            self._start_over(partition, error, self._monotonic() - began)
            return False
        except RefusalsError as error:
            self._standstill.stands(partition.number, error, self._monotonic())
            self._start_over(partition, error, REFUSED_WAIT_SECONDS)
            return False
        return True

    def _start_over(self, partition: Partition, error: EtlError, wait_seconds_min: float = 0.0) -> None:
        self._outage.failed(error, partition=partition.number)
        self._failing.add(partition.number)
        partition.close()
        self._source.hold(partition.number)
        wait = max(self._limits.retry_seconds(partition.failures), wait_seconds_min)
        partition.wait_until = self._monotonic() + wait
        partition.failures += 1

    def _open_some(self) -> None:
        """Open partitions further, each by a step, for as long as open ones may wait for it."""
        began = self._monotonic()
        for partition in self._all():
            now = self._monotonic()
            if self._stop.is_set() or now - began >= OPENING_SECONDS_A_TURN:
                return
            if not partition.is_open and now >= partition.wait_until:
                self._try(partition, self._open)

    def _open(self, partition: Partition) -> None:
        """Read on what Kafka and ClickHouse know of a partition; when that is all, go on from there."""
        if partition.opening is None:
            partition.opening = self._opener.open(partition)
        if next(partition.opening, OPENED) is not OPENED:
            return
        partition.opening = None
        self._source.start(partition.number, partition.next_offset)
        partition.is_open, partition.is_held, partition.since = True, False, self._monotonic()

    def _load(self, partition: Partition) -> None:
        """Store the next batch of a partition, or a part of it when that takes long."""
        delivery = partition.delivery or self._deliver(partition)
        if delivery is None:
            self._wait_for_quiet(partition)
            return
        until = self._monotonic() + TURN_SECONDS
        for _ in delivery:
            if self._monotonic() >= until:
                # What comes meanwhile waits in Kafka, not in memory.
                partition.delivery, partition.is_held = delivery, True
                self._source.hold(partition.number)
                return
        partition.delivery = None
        partition.drop(partition.delivered, self._monotonic())
        if partition.is_held:
            self._source.start(partition.number, partition.next_offset)
            partition.is_held = False
        self._standstill.stored(partition.number, self._monotonic())
        self._works(partition)

    def _deliver(self, partition: Partition) -> Iterator[None] | None:
        """Begin to store the next batch; None while inserts of a former owner may run."""
        batch = partition.batch(self._limits.flush)
        if not batch:
            raise LogChangedError(
                f"partition {partition.number}: the log holds nothing of the plan {partition.inherited}"
            )
        partition.delivered = len(batch)
        if partition.is_fresh():
            return self._delivery.delivering(partition, batch)
        return self._delivery.recovering(partition, batch) if self._delivery.is_quiet(partition) else None

    def _works(self, partition: Partition) -> None:
        partition.failures = 0
        self._failing.discard(partition.number)
        if not self._failing:
            self._outage.over()

    def _wait_for_quiet(self, partition: Partition) -> None:
        """Look again a little later; meanwhile the partition's messages stay in Kafka."""
        now = self._monotonic()
        if not partition.is_held:
            self._source.hold(partition.number)
            partition.is_held, partition.since = True, now
        elif now - partition.since >= QUIET_SECONDS_EXPECTED and not partition.failures:
            waits = SinkError(f"waits for inserts to end, until {partition.quiet_after}")
            self._outage.failed(waits, partition=partition.number)
            self._failing.add(partition.number)
            partition.failures = 1
        partition.wait_until = now + QUIET_POLL_SECONDS
