"""The steps of the protocol for one batch: plan, insert, commit; and the recovery of what may be stored in part.

The guarantee: each offset of a partition becomes exactly one row. architecture/decisions/0010 has the proof.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from dataclasses import replace
from typing import Protocol

from common.failpoints import failpoint
from etl.batch import Batch, coordinates, forget_refused, refuse_another_log, spell
from etl.block import Block, Coordinates, events_block, rejected_block
from etl.clock import MILLISECONDS, ServerClock
from etl.errors import (
    DataRefusedError,
    QuorumError,
    QuorumTimeoutError,
    SinkError,
    TooLargeError,
)
from etl.events.rows import Rows, decode, digest, set_aside
from etl.kafka.message import Message
from etl.partition import Partition
from etl.plan import Plan, closing_metadata
from etl.refusals import Refusals
from etl.search import Prober, Search
from etl.verdicts import Recent, judge

Decode = Callable[[Sequence[Message]], Rows]
# A block that is too large for ClickHouse is halved down to this: where even so few do not fit, one of them may be at
# fault, which a search finds out.
HALVED_ROWS_MIN = 1_000


class Commits(Protocol):
    """Where plans are written."""

    def commit(self, partition: int, offset: int, metadata: str) -> None:
        """Commit synchronously; SourceError unless Kafka says that it is done."""


class Sink(Prober, Recent, Protocol):
    """Where rows go."""

    def insert(self, block: Block) -> None:
        """Store a block; DataRefusedError when a value of it is at fault, SinkError else; either may have stored it."""

    def now(self) -> int:
        """Return ClickHouse's time in milliseconds."""

    def is_inserting(self, at: Coordinates) -> bool:
        """Whether an insert into the partition still runs."""

    def held(self, at: Coordinates, first: int, last: int) -> set[int]:
        """Return which offsets from `first` to `last` any server holds, confirmed or not: these are not inserted."""

    def confirmed(self, at: Coordinates, first: int, last: int) -> set[int]:
        """Return which offsets from `first` to `last` are stored for good: only these may be committed."""


class Delivery:
    """Stores batches, each exactly once. Any exception means: nothing is known, start the partition over.

    `delivering` and `recovering` yield where they may take long, so that other partitions can have their turn; what is
    given up at a yield has failed at that place. `deliver` and `recover` do the same without a break.
    """

    def __init__(
        self,
        commits: Commits,
        sink: Sink,
        clock: ServerClock,
        refusals: Refusals,
        skew_seconds: float = 0.0,
        decode: Decode = decode,
    ) -> None:
        self._commits = commits
        self._sink = sink
        self._clock = clock
        self._refusals = refusals
        # Of each partition by itself: a client that sends bad events reaches one of them.
        self._refusals_of: dict[int, Refusals] = {}
        self._skew = round(skew_seconds * MILLISECONDS)
        self._decode = decode

    def deliver(self, partition: Partition, messages: Sequence[Message]) -> None:
        """Store a batch of which nothing is stored."""
        deque(self.delivering(partition, messages), maxlen=0)

    def recover(self, partition: Partition, messages: Sequence[Message]) -> None:
        """Store what is missing of a batch that may be stored in part. To be called when it is quiet."""
        deque(self.recovering(partition, messages), maxlen=0)

    def delivering(self, partition: Partition, messages: Sequence[Message]) -> Iterator[None]:
        """Store a batch of which nothing is stored. Its plan closes the batch before it: one commit a batch."""
        batch = self._prepare(partition, messages)
        yield from self._judge(batch, partition)
        # The judgement may have taken long; nobody knows of this plan yet.
        batch.plan = batch.plan.until(self._clock.deadline())
        failpoint("before-plan")
        # The lines that make the guarantee. Kafka knows what will be inserted before it is; ClickHouse refuses it after
        # the plan's deadline, before which no other owner begins; the offset moves on only after a clean answer.
        self._plan(batch, partition)
        yield from self._store(batch, partition)
        partition.unclosed = batch.plan.end + 1
        failpoint("after-acknowledgement")

    def close(self, partition: Partition) -> None:
        """Tell Kafka that everything is stored, when no further batch comes to say so."""
        if partition.unclosed is None:
            return
        metadata = closing_metadata(coordinates(partition).topic.identity)
        self._commits.commit(partition.number, partition.unclosed, metadata)
        partition.committed, partition.unclosed = partition.unclosed, None
        failpoint("after-commit")

    def is_quiet(self, partition: Partition) -> bool:
        """Whether no insert of a former owner can begin or still run."""
        quiet_after = partition.quiet_after + self._skew
        return self._sink.now() > quiet_after and not self._sink.is_inserting(coordinates(partition))

    def recovering(self, partition: Partition, messages: Sequence[Message]) -> Iterator[None]:
        """Store what is missing of a batch that may be stored in part. To be called when it is quiet."""
        batch = self._prepare(partition, messages)
        if partition.inherited is not None:
            refuse_another_log(partition, partition.inherited, batch.plan)
        failpoint("in-recovery")
        # Proves that we own the partition, and tells the next owner until when our own insert may begin.
        self._plan(batch, partition)
        held = self._sink.held(batch.at, batch.plan.first, batch.plan.end)
        yield from self._judge(batch, partition, held)
        batch.rows = batch.rows.select(lambda offset: offset not in held)
        # Or the few bad rows that an earlier attempt left would look like a table that takes nothing.
        self._counter(partition.number).stored(len(held))
        self._renew(batch)
        yield from self._store(batch, partition)
        self._refuse_unconfirmed(batch)
        partition.inherited = None
        partition.unclosed = batch.plan.end + 1

    def _prepare(self, partition: Partition, messages: Sequence[Message]) -> Batch:
        at = coordinates(partition)
        first = partition.committed if partition.unclosed is None else partition.unclosed
        end, told = messages[-1].offset(), digest(messages)
        plan = Plan(at.topic.identity, first, end, len(messages), told, self._clock.deadline())
        return Batch(at, messages, self._decode(messages), plan)

    def _judge(self, batch: Batch, partition: Partition, held: Collection[int] = ()) -> Iterator[None]:
        """Set repeats aside, and events that ClickHouse would refuse where they have repeats."""
        yield from judge(batch, partition, self._sink, self._search, held)

    def _search(self, batch: Batch) -> Search:
        counter = self._counter(batch.at.partition)
        return Search(self._sink, batch.at, counter, lambda rows: events_block(batch.at, batch.plan, 0, rows))

    def _plan(self, batch: Batch, partition: Partition) -> None:
        """Commit the plan; everything before it is stored, which Kafka learns with it."""
        self._commits.commit(partition.number, batch.plan.first, batch.plan.metadata())
        partition.committed, partition.unclosed = batch.plan.first, None

    def _counter(self, partition: int) -> Refusals:
        return self._refusals_of.setdefault(partition, self._refusals.another())

    def _store(self, batch: Batch, partition: Partition) -> Iterator[None]:
        failpoint("after-plan")
        if batch.rows.rejected:
            self._sink.insert(rejected_block(batch.at, batch.plan, batch.next_part(), batch.rows.rejected))
        if batch.rows.events:
            yield from self._store_events(batch, partition, batch.rows, is_counted=batch.is_counted)

    def _store_events(
        self, batch: Batch, partition: Partition, rows: Rows, *, is_counted: bool = False
    ) -> Iterator[None]:
        """Insert events; refused ones are set aside first, and of a block that is too large halves are inserted."""
        try:
            self._sink.insert(events_block(batch.at, batch.plan, batch.next_part(), rows))
        except DataRefusedError as error:
            self._refuse_stored(batch, rows, error)
            good = yield from self._set_aside(batch, partition, rows, error)
            if good.events:
                yield
                self._renew(batch)
                yield from self._store_events(batch, partition, good, is_counted=True)
        except (TooLargeError, QuorumTimeoutError) as error:
            self._refuse_stored(batch, rows, error)
            parts: Sequence[Rows] = rows.halves()
            if rows.events < HALVED_ROWS_MIN:
                if not isinstance(error, TooLargeError) or not error.code:
                    raise
                # One event may need more than there is for each query.
                good = yield from self._set_aside(batch, partition, rows, DataRefusedError(error.code, str(error)))
                parts, is_counted = parts if good.events == rows.events else [good], True
            for part in parts:
                if part.events:
                    yield
                    self._renew(batch)
                    yield from self._store_events(batch, partition, part, is_counted=is_counted)
        else:
            self._counter(batch.at.partition).stored(0 if is_counted else rows.events)

    def _set_aside(
        self, batch: Batch, partition: Partition, rows: Rows, error: DataRefusedError
    ) -> Generator[None, None, Rows]:
        """Store the rows that ClickHouse does not take as refused; return the others."""
        search = self._search(batch)
        yield from search.run(rows, error)
        if not search.found:
            return rows
        reasons = {offset: spell(each) for offset, each in search.found.items()}
        parted = set_aside(replace(rows, rejected=[]), batch.messages, {}, reasons)
        # Before the events, so that whoever counts rows up to the last event finds all of them.
        self._renew(batch)
        self._sink.insert(rejected_block(batch.at, batch.plan, batch.next_part(), parted.rejected))
        forget_refused(batch, rows.select(lambda offset: offset in search.found), partition)
        return replace(parted, rejected=[])

    def _refuse_unconfirmed(self, batch: Batch) -> None:
        """Raise SinkError unless every message of a recovered batch is a row that cannot vanish again."""
        first, end = batch.plan.first, batch.plan.end
        missing = {each.offset() for each in batch.messages} - self._sink.confirmed(batch.at, first, end)
        if not missing:
            return
        if missing <= self._sink.held(batch.at, first, end):
            raise QuorumError(
                f"{len(missing)} rows of the batch {batch.plan} are stored, but not on enough replicas yet: "
                "a replica is absent, or has not fetched them"
            )
        raise SinkError(f"after its recovery the batch {batch.plan} is not stored as a whole")

    def _refuse_stored(self, batch: Batch, rows: Rows, error: SinkError) -> None:
        """Raise SinkError when ClickHouse stored what it refused, or may still do so.

        It stores a block and then fails when a view of the table fails, or when replicas do not confirm it in time.
        """
        if self._sink.is_inserting(batch.at):
            raise SinkError(f"an insert still runs, although ClickHouse answered: {error}") from error
        if stored := self._sink.held(batch.at, rows.offsets[0], rows.offsets[-1]).intersection(rows.offsets):
            raise SinkError(f"{len(stored)} rows are stored, although ClickHouse said: {error}") from error

    def _renew(self, batch: Batch) -> None:
        """Plan the batch again when many inserts have used up the time of its plan."""
        if self._clock.is_near(batch.plan.deadline):
            batch.plan = batch.plan.until(self._clock.deadline())
            self._commits.commit(batch.at.partition, batch.plan.first, batch.plan.metadata())
