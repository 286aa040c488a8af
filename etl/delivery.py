"""The protocol for one batch: plan, insert, commit; and the recovery of a batch that may be stored in part.

The guarantee: each offset of a partition becomes exactly one row. architecture/decisions/0010 has the proof.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace

from common.failpoints import failpoint
from etl.batch import (
    Batch,
    classify,
    coordinates,
    forget_refused,
    refusal_text,
    require_planned_messages,
)
from etl.confirming import require_confirmed, require_nothing_stored
from etl.counting import RowCounts
from etl.errors import DataRefusedError, QuorumTimeoutError, TooLargeError
from etl.events.rows import Message, Rejected, Rows, decode, reject_rows
from etl.inserting import Inline, Inserts, Start
from etl.metrics import ACCEPTED, EtlMetrics
from etl.partition import Partition
from etl.plan import (
    EVENTS,
    MILLISECONDS,
    REJECTED,
    Plan,
    ServerClock,
    completed_metadata,
    events_block,
    rejected_block,
)
from etl.prepared import Prepared, prepared
from etl.refusals import Refusals
from etl.search import Search
from etl.stores import Commits, Sink
from etl.tracing import BatchTracing

Decode = Callable[[Sequence[Message]], Rows]
# A block that is too large for ClickHouse is halved down to this size. If a smaller one does not fit either, one event
# may be at fault, which a search finds out.
HALVED_ROWS_MIN = 1_000


class Delivery:
    """Stores batches, each message in exactly one row. After any exception the partition must be restored.

    `deliver` and `recover` are generators that yield where they may take long, so that other partitions get a turn, and
    while an insert runs. They use the connection to ClickHouse: continue one only while no insert of `inserts` runs. To
    abandon one at a yield is the same as a failure there.
    """

    def __init__(
        self,
        commits: Commits,
        sink: Sink,
        clock: ServerClock,
        refusals: Refusals,
        skew_seconds: float = 0.0,
        decode: Decode = decode,
        start: Start = Inline,
        metrics: EtlMetrics | None = None,
        tracing: BatchTracing | None = None,
    ) -> None:
        self._tracing = tracing
        self._commits = commits
        self._sink = sink
        self._metrics = metrics or EtlMetrics()
        self._rows = RowCounts(self._metrics)
        self.inserts = Inserts(sink.insert, start, self._metrics)
        self._clock = clock
        self._refusals = refusals
        # One counter for each partition, because the bad events of one client may all be in one partition.
        self._refusals_of: dict[int, Refusals] = {}
        self._skew = round(skew_seconds * MILLISECONDS)
        self._decode = decode

    def prepare(self, messages: Sequence[Message], *, is_planned: bool = False) -> Prepared:
        """Decode a batch, also while an insert runs; it ends where partitions were added, unless it `is_planned`."""
        with self._metrics.decode:
            return prepared(messages, self._decode(messages), is_planned=is_planned)

    def deliver(self, partition: Partition, prepared: Prepared) -> Iterator[None]:
        """Store a batch of which ClickHouse holds nothing. Its plan is also the commit of the batch before it."""
        batch = self._batch(partition, prepared)
        with batch.traced():
            yield from self._deliver(partition, batch)

    def _deliver(self, partition: Partition, batch: Batch) -> Iterator[None]:
        yield from self._classify(batch, partition)
        # The classification may have taken long, and this plan is not committed yet.
        batch.plan = batch.plan.until(self._clock.deadline())
        failpoint("before-plan")
        # The lines that make the guarantee. The plan is in Kafka before its insert begins. ClickHouse refuses an insert
        # after the plan's deadline, and no other owner begins before it. The offset advances only when ClickHouse has
        # acknowledged every insert.
        self._plan(batch, partition)
        yield from self._store(batch, partition)
        partition.acknowledged_through = batch.plan.end + 1
        self._rows.acknowledged(batch)
        failpoint("after-acknowledgement")

    def commit_acknowledged(self, partition: Partition) -> None:
        """Commit the acknowledged offset, when no further batch follows whose plan would commit it."""
        if partition.acknowledged_through is None:
            return
        at = coordinates(partition)
        metadata = completed_metadata(at.topic.identity, at.placement)
        closing = nullcontext() if partition.trace is None else partition.trace.stage("close")
        with self._metrics.commit, closing:
            self._commits.commit(partition.number, partition.acknowledged_through, metadata)
        partition.committed, partition.acknowledged_through = partition.acknowledged_through, None
        failpoint("after-commit")

    def no_insert_in_flight(self, partition: Partition) -> bool:
        """Whether no insert of a former owner can begin any more, and none is running."""
        in_flight_until = partition.in_flight_until + self._skew
        at, first = coordinates(partition), partition.committed
        return self._sink.earliest_now(at, first) > in_flight_until and not self._sink.is_inserting(at, first)

    def recover(self, partition: Partition, prepared: Prepared) -> Iterator[None]:
        """Store the missing rows of a batch that may be stored in part. Requires `no_insert_in_flight`."""
        batch = self._batch(partition, prepared)
        with batch.traced():
            yield from self._recover(partition, batch)

    def _recover(self, partition: Partition, batch: Batch) -> Iterator[None]:
        if partition.inherited is not None:
            require_planned_messages(partition, partition.inherited, batch.plan)
        failpoint("in-recovery")
        # Fails if the group has removed this member, and gives the next owner the deadline of this insert.
        self._plan(batch, partition)
        stored = self._sink.stored_offsets(batch.at, batch.plan.first, batch.plan.end)
        if batch.trace is not None:
            batch.trace.recovered(len(stored))
        yield from self._classify(batch, partition, stored)
        self._rows.found(batch, stored)
        batch.rows = batch.rows.select(lambda offset: offset not in stored)
        # Counted, because the refused rows that an earlier attempt left would otherwise look like a broken table.
        self._counter(partition.number).stored(len(stored))
        self._renew(batch)
        yield from self._store(batch, partition)
        require_confirmed(self._sink, batch)
        partition.inherited = None
        partition.acknowledged_through = batch.plan.end + 1
        self._rows.acknowledged(batch)

    def _batch(self, partition: Partition, prepared: Prepared) -> Batch:
        at, acknowledged, messages = coordinates(partition), partition.acknowledged_through, prepared.messages
        first = partition.committed if acknowledged is None else acknowledged
        end = messages[-1].offset()
        deadline = self._clock.deadline()
        plan = Plan(at.topic.identity, first, end, len(messages), prepared.digest, deadline, at.placement)
        batch = Batch(at, messages, prepared.rows, plan)
        if self._tracing is not None:
            batch.trace = self._tracing.begin(partition.number, messages, plan)
        partition.trace = batch.trace
        return batch

    def _classify(self, batch: Batch, partition: Partition, stored: Collection[int] = ()) -> Iterator[None]:
        """Reject duplicates, and events with copies that ClickHouse would refuse."""
        began = self._metrics.monotonic()
        yield from classify(batch, partition, self._sink, self._search, stored)
        self._metrics.ended("classify", began)

    def _search(self, batch: Batch) -> Search:
        counter = self._counter(batch.at.partition)
        return Search(self._sink, batch.at, counter, lambda rows: events_block(batch.at, batch.plan, 0, rows))

    def _plan(self, batch: Batch, partition: Partition) -> None:
        """Commit the plan, at an offset before which everything is stored."""
        with self._metrics.plan, batch.stage("plan"):
            self._commits.commit(partition.number, batch.plan.first, batch.plan.metadata())
        partition.committed, partition.acknowledged_through = batch.plan.first, None

    def _counter(self, partition: int) -> Refusals:
        return self._refusals_of.setdefault(partition, self._refusals.new_counter())

    def _store(self, batch: Batch, partition: Partition) -> Iterator[None]:
        failpoint("after-plan")
        if batch.rows.rejected:
            yield from self._insert_rejected(batch, batch.rows.rejected)
        if batch.rows.events:
            yield from self._store_events(batch, partition, batch.rows, is_counted=batch.is_counted)

    def _insert_rejected(self, batch: Batch, rejected: Sequence[Rejected]) -> Iterator[None]:
        with batch.inserting(rejected_block(batch.at, batch.plan, batch.next_part(), rejected)) as block:
            yield from self.inserts.insert(block)
        batch.counts.update((REJECTED, each.reason) for each in rejected)

    def _store_events(
        self, batch: Batch, partition: Partition, rows: Rows, *, is_counted: bool = False
    ) -> Iterator[None]:
        """Insert events; refused ones are rejected first, and a block that is too large is inserted in halves."""
        try:
            with batch.inserting(events_block(batch.at, batch.plan, batch.next_part(), rows)) as block:
                yield from self.inserts.insert(block)
        except DataRefusedError as error:
            require_nothing_stored(self._sink, batch, rows, error)
            accepted = yield from self._reject_refused(batch, partition, rows, error)
            if accepted.events:
                yield
                self._renew(batch)
                yield from self._store_events(batch, partition, accepted, is_counted=True)
        except (TooLargeError, QuorumTimeoutError) as error:
            require_nothing_stored(self._sink, batch, rows, error)
            parts: Sequence[Rows] = rows.halves()
            if rows.events < HALVED_ROWS_MIN:
                if not isinstance(error, TooLargeError) or not error.code:
                    raise
                # A single event may exceed the limit of a query.
                refused = DataRefusedError(error.code, str(error))
                accepted = yield from self._reject_refused(batch, partition, rows, refused)
                parts, is_counted = parts if accepted.events == rows.events else [accepted], True
            for part in parts:
                if part.events:
                    yield
                    self._renew(batch)
                    yield from self._store_events(batch, partition, part, is_counted=is_counted)
        else:
            self._counter(batch.at.partition).stored(0 if is_counted else rows.events)
            batch.counts[EVENTS, ACCEPTED] += rows.events

    def _reject_refused(
        self, batch: Batch, partition: Partition, rows: Rows, error: DataRefusedError
    ) -> Generator[None, None, Rows]:
        """Search the rows that ClickHouse refuses, store them as rejected, and return the others."""
        search = self._search(batch)
        yield from search.run(rows, error)
        if not search.found:
            return rows
        reasons = {offset: refusal_text(each) for offset, each in search.found.items()}
        parted = reject_rows(replace(rows, rejected=[]), batch.messages, {}, reasons)
        # Before the events, so that a reader who counts rows up to the last event finds all of them.
        self._renew(batch)
        yield from self._insert_rejected(batch, parted.rejected)
        forget_refused(batch, rows.select(lambda offset: offset in search.found), partition)
        return replace(parted, rejected=[])

    def _renew(self, batch: Batch) -> None:
        """Commit the plan again with a later deadline, if its inserts have used up much of the time."""
        if self._clock.is_near(batch.plan.deadline):
            batch.plan = batch.plan.until(self._clock.deadline())
            with self._metrics.plan:
                self._commits.commit(batch.at.partition, batch.plan.first, batch.plan.metadata())
