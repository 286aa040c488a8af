"""Delivers the batches of the partitions in turn, and prepares the next one while an insert runs.

The connection to ClickHouse does one thing at a time. While it runs an insert, the loader polls, and one batch is
decoded: nothing of it is planned, inserted or committed before the insert has ended.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

from common.failpoints import failpoint
from etl.delivery import Delivery
from etl.errors import LogChangedError, SinkError
from etl.failures import Failures
from etl.partition import FlushLimits, Partition
from etl.progress import Progress
from etl.stores import Source

# How often ClickHouse is asked whether a former owner's inserts have ended.
IN_FLIGHT_POLL_SECONDS = 0.1
# A delivery that takes longer, such as a search for refused rows, gives other partitions their turn.
TURN_SECONDS = 0.25
# A wait for inserts in flight that takes longer is logged; no insert should run so long.
IN_FLIGHT_SECONDS_EXPECTED = 60.0
# How long one wait for a running insert may take.
INSERT_CHECK_SECONDS = 0.01


class Deliveries:
    """The deliveries of a process, of which one uses the connection to ClickHouse."""

    def __init__(
        self,
        source: Source,
        delivery: Delivery,
        failures: Failures,
        flush: FlushLimits,
        monotonic: Callable[[], float],
        progress: Progress,
    ) -> None:
        self._source = source
        self._delivery = delivery
        self._failures = failures
        self._flush = flush
        self._monotonic = monotonic
        self._progress = progress
        self._metrics = progress.metrics
        self._turns = itertools.count(1)

    @property
    def is_inserting(self) -> bool:
        """Whether an insert uses the connection, perhaps one of a partition that was given up."""
        return self._delivery.inserts.is_running

    def await_insert(self) -> None:
        """Return when the running insert has ended, or a moment later."""
        self._delivery.inserts.wait(INSERT_CHECK_SECONDS)

    def deliver_due(self, partitions: Sequence[Partition], is_due: Callable[[Partition], bool]) -> None:
        """Acknowledge the insert that has ended, then deliver due batches until an insert runs or none is due."""
        for partition in partitions:
            if partition.is_unacknowledged and not self.is_inserting:
                self._failures.attempt(partition, self._deliver)
        for partition in sorted(partitions, key=lambda each: (each.prepared is None, each.turn)):
            while (
                not self.is_inserting
                and is_due(partition)
                and self._failures.attempt(partition, self._deliver)
                and partition.delivery is None
            ):
                pass

    def prepare_next(self, partitions: Sequence[Partition], limits_of: Callable[[Partition], FlushLimits]) -> bool:
        """Decode the batch that is delivered next; False if none is due, or one is decoded already."""
        if any(partition.prepared for partition in partitions):
            return False
        for partition in sorted(partitions, key=lambda each: each.turn):
            if partition.is_next_due(limits_of(partition), self._monotonic()):
                partition.prepared = self._delivery.prepare(partition.batch(self._flush))
                failpoint("next-prepared")
                return True
        return False

    def finish_insert(self, partition: Partition, seconds_max: float) -> None:
        """Let the insert of a partition that is about to be given up end, so that it can be committed."""
        until = self._monotonic() + seconds_max
        while partition.is_unacknowledged and self._monotonic() < until:
            self.await_insert()
            if not self.is_inserting:
                partition.is_paused = False  # nothing more of it is to be delivered
                self._failures.attempt(partition, self._deliver)

    def _deliver(self, partition: Partition) -> None:
        """Store the next batch of a partition, or a part of it if that takes long or an insert runs."""
        partition.insert_began = None
        delivery = partition.delivery or self._begin(partition)
        if delivery is None:
            self._wait_for_inserts_in_flight(partition)
            return
        until = self._monotonic() + TURN_SECONDS
        for _ in delivery:
            if self.is_inserting:
                partition.delivery, partition.insert_began = delivery, self._monotonic()
                return
            if self._monotonic() >= until:
                # Paused, so that messages wait in Kafka and not in memory.
                partition.delivery, partition.is_paused = delivery, True
                self._source.pause(partition.number)
                return
        self._progress.stored(partition)
        if (began := partition.began.pop("recover", None)) is not None:
            self._metrics.recoveries.value += 1
            self._metrics.ended("recover", began)
        partition.drop_delivered(self._monotonic())
        if partition.is_paused:
            self._source.resume(partition.number, partition.next_offset)
            partition.is_paused = False
        self._failures.stored(partition)
        if partition.restores_after_delivery:
            # Committed, so that it is restored behind the record of the added partitions.
            self._delivery.commit_acknowledged(partition)
            self._failures.restore_again(partition)

    def _begin(self, partition: Partition) -> Iterator[None] | None:
        """Begin to store the next batch; None while a former owner's inserts may be in flight."""
        is_new = partition.has_new_batch()
        prepared = partition.prepared
        batch = prepared.messages if prepared else partition.batch(self._flush)
        if not batch:
            raise LogChangedError(
                f"partition {partition.number}: the log holds nothing of the plan {partition.inherited}"
            )
        if not is_new and not self._delivery.no_insert_in_flight(partition):
            return None
        if (began := partition.began.pop("wait_for_quiet", None)) is not None:
            self._metrics.ended("wait_for_quiet", began)
        prepared = prepared or self._delivery.prepare(batch, is_planned=partition.inherited is not None)
        partition.begin(prepared.messages, next(self._turns))
        partition.restores_after_delivery = prepared.has_change
        if is_new:
            return self._delivery.deliver(partition, prepared)
        partition.began["recover"] = self._metrics.monotonic()
        return self._delivery.recover(partition, prepared)

    def _wait_for_inserts_in_flight(self, partition: Partition) -> None:
        """Try again a little later; meanwhile the partition's messages stay in Kafka."""
        now = self._monotonic()
        partition.began.setdefault("wait_for_quiet", self._metrics.monotonic())
        if not partition.is_paused:
            self._source.pause(partition.number)
            partition.is_paused, partition.since = True, now
        elif now - partition.since >= IN_FLIGHT_SECONDS_EXPECTED and not partition.failures:
            self._failures.note(partition, SinkError(f"waits for inserts to end, until {partition.in_flight_until}"))
            partition.failures = 1
        partition.wait_until = now + IN_FLIGHT_POLL_SECONDS
