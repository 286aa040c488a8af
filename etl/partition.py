"""The state of one assigned partition: its position, and the messages that wait. No I/O; time is an argument."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate

from etl.events.duplicates import DuplicateWindow
from etl.events.rows import Message
from etl.plan import Coordinates, Plan, Position
from etl.prepared import Prepared
from etl.tracing import BatchTrace

NOTHING_STORED = -1
# Doublings of the wait after a failure; in an outage of hours more would overflow.
DOUBLINGS_MAX = 20
# What a message takes in memory beside its bytes: its key, the name of the topic, and four Python objects.
MESSAGE_BYTES = 400
# While there is a backlog, a batch may wait so many times longer to become full.
BACKLOG_WAIT_FACTOR = 10


@dataclass(frozen=True)
class FlushLimits:
    """A batch is due when it reaches any of these limits; `seconds` is longer while there is a backlog."""

    seconds: float
    rows: int
    bytes: int


@dataclass(frozen=True)
class LoaderLimits:
    """The sizes of polls and batches, and the waits between retries."""

    flush: FlushLimits
    poll_rows: int
    retry_seconds_min: float
    retry_seconds_max: float
    # What the messages of all partitions may take in memory.
    buffer_bytes: int = 268_435_456
    # Of ClickHouse; a partition is on that with the index `partition modulo shards`.
    shards: int = 1

    def flush_when(self, *, is_backlog: bool) -> FlushLimits:
        """Return when batches are due; in a backlog they wait longer, because small ones would only cost merges."""
        flush = self.flush
        return replace(flush, seconds=flush.seconds * BACKLOG_WAIT_FACTOR) if is_backlog else flush

    def retry_seconds(self, failures: int) -> float:
        """Return the wait before the next attempt, after so many earlier failures."""
        return min(self.retry_seconds_min * float(2 ** min(failures, DOUBLINGS_MAX)), self.retry_seconds_max)


@dataclass
class Partition:
    """One partition. It loads nothing until its state is restored from Kafka and ClickHouse, and after each failure."""

    number: int
    at: Coordinates | None = None  # set when the partition is first restored
    is_restored: bool = False
    # Whether Kafka's client delivers no messages of it for now.
    is_paused: bool = False
    # The earliest time of the next attempt.
    wait_until: float = 0.0
    failures: int = 0
    problem: str = ""  # of the last failure
    # The id of the topic, and the commit that this owner found; the commit is None until it is read.
    topic_id: str = ""
    position: Position | None = None
    # The remaining steps of restoring it; None before the first step and after the last.
    restoring: Iterator[None] | None = None
    # The offset of the next message to buffer.
    next_offset: int = 0
    # Where offsets were missing in a fetch: a gap that is seen twice is accepted.
    gaps: set[int] = field(default_factory=set)
    # The offset committed to Kafka: everything before it is stored.
    committed: int = 0
    # The offset before which this owner found everything stored, or has stored it; None until Kafka's commit is read.
    stored_before: int | None = None
    # Until when every event in the log is stored, in seconds since the Unix epoch; None while that is not known.
    complete_through: float | None = None
    # Whether it has been restored since it was assigned.
    was_restored: bool = False
    # When stages began that take several turns, by the stage.
    began: dict[str, float] = field(default_factory=dict)
    # A plan found in Kafka: its rows may be stored in part, and a former owner's insert may still run.
    inherited: Plan | None = None
    # The largest offset that ClickHouse may already hold beyond the committed offset.
    stored_through: int = NOTHING_STORED
    # Until this time of ClickHouse's clock, in milliseconds, a former owner's insert may begin.
    in_flight_until: int = 0
    # Offset acknowledged by ClickHouse but not yet committed to Kafka: the next plan or an idle moment commits it.
    acknowledged_through: int | None = None
    # The spans of the last batch that was begun.
    trace: BatchTrace | None = None
    window: DuplicateWindow = field(default_factory=lambda: DuplicateWindow(1))
    pending: list[Message] = field(default_factory=list)
    pending_bytes: int = 0
    # When the oldest pending message was buffered, or when the partition last had something to do.
    since: float = 0.0
    # The delivery of the first `delivered` pending messages, while an insert runs or if it takes more than one turn.
    delivery: Iterator[None] | None = None
    delivered: int = 0
    delivered_bytes: int = 0
    # Whether the partition is restored again when they are stored, because the duplicate window changes after them.
    restores_after_delivery: bool = False
    # When the insert began that runs, or has ended since the delivery was last continued.
    insert_began: float | None = None
    # The number of its last delivery among those of all partitions: they take turns.
    turn: int = 0
    # The next batch, decoded while an insert runs.
    prepared: Prepared | None = None

    @property
    def held_bytes(self) -> int:
        """About the memory of the messages."""
        return self.pending_bytes + MESSAGE_BYTES * len(self.pending)

    def seek(self, offset: int) -> None:
        """Continue from an offset, which is the one committed to Kafka."""
        self.committed = self.next_offset = offset
        self.gaps = {gap for gap in self.gaps if gap >= offset}

    def buffer(self, messages: Sequence[Message], now: float) -> bool:
        """Append messages in the order of the log; False, and nothing is appended, if offsets are missing."""
        if messages[0].offset() < self.next_offset:
            # Fetched before the partition started over.
            messages = [message for message in messages if message.offset() >= self.next_offset]
            if not messages:
                return True
        last = messages[-1].offset()
        if last - self.next_offset + 1 != len(messages):
            gaps = gaps_before(messages, self.next_offset)
            if not gaps <= self.gaps:
                self.gaps |= gaps
                return False
        if not self.pending:
            self.since = now
        self.pending.extend(messages)
        self.pending_bytes += sum(map(len, messages))
        self.next_offset = last + 1
        return True

    def is_due(self, limits: FlushLimits, now: float) -> bool:
        """Whether the batch has reached a limit; a batch of an inherited plan is due when all its messages are here."""
        if not self.is_restored or now < self.wait_until or not self.pending:
            return False
        if self.delivery is not None:
            return True
        if self.inherited is not None:
            return self.next_offset > self.inherited.end
        return (
            now - self.since >= limits.seconds or len(self.pending) >= limits.rows or self.pending_bytes >= limits.bytes
        )

    def is_idle(self, limits: FlushLimits, now: float) -> bool:
        """Whether an acknowledged offset is not committed, and no message has arrived for a while."""
        return self.acknowledged_through is not None and not self.pending and now - self.since >= limits.seconds

    def has_been_idle(self, seconds: float, now: float) -> bool:
        """Whether it is restored and has had nothing to do for so long."""
        return self.is_restored and not self.pending and now - self.since >= seconds

    def has_new_batch(self) -> bool:
        """Whether messages are pending of which ClickHouse cannot hold any yet."""
        return self.delivery is None and self.has_new_batch_after_delivery()

    def has_new_batch_after_delivery(self) -> bool:
        """Whether such messages are pending behind those that are being delivered."""
        first = self.in_delivery
        return (
            self.is_restored
            and self.inherited is None
            and len(self.pending) > first
            and self.pending[first].offset() > self.stored_through
        )

    def may_have_work(self) -> bool:
        """Whether messages are pending, or may be, as after a failure."""
        return bool(self.pending or self.failures) or self.delivery is not None or not self.is_restored

    def batch(self, limits: FlushLimits) -> Sequence[Message]:
        """Return the messages to insert next: those of an inherited plan, else as many as the limits allow."""
        if self.inherited is not None:
            end = self.inherited.end
            return [message for message in self.pending if message.offset() <= end]
        start = self.in_delivery
        batch = self.pending[start : start + limits.rows]
        # Sizes are summed only if the bytes exceed the limit; a batch has at least one message.
        return batch if self.pending_bytes <= limits.bytes else batch[: max(1, count_within(batch, limits.bytes))]

    @property
    def is_unacknowledged(self) -> bool:
        """Whether its insert runs, or has ended and its delivery was not continued since."""
        return self.delivery is not None and self.insert_began is not None

    @property
    def in_delivery(self) -> int:
        """The number of pending messages that are being delivered."""
        return 0 if self.delivery is None else self.delivered

    def is_next_due(self, limits: FlushLimits, now: float) -> bool:
        """Whether a batch should be prepared: it is due, or full behind the one that is being delivered."""
        if self.prepared is not None or not self.has_new_batch_after_delivery():
            return False
        if self.delivery is None:
            return self.is_due(limits, now)
        rows, size = len(self.pending) - self.delivered, self.pending_bytes - self.delivered_bytes
        return rows >= limits.rows or size >= limits.bytes

    def begin(self, batch: Sequence[Message], turn: int) -> None:
        """Note that the first pending messages are being delivered."""
        self.delivered, self.prepared, self.turn = len(batch), None, turn
        # The rest is summed, because it has fewer messages than the batch on a backlog.
        self.delivered_bytes = self.pending_bytes - sum(map(len, self.pending[len(batch) :]))

    def drop_delivered(self, now: float) -> None:
        """Remove the delivered messages, which are stored."""
        del self.pending[: self.delivered]
        self.pending_bytes -= self.delivered_bytes
        self.delivery, self.since = None, now

    def reset(self) -> None:
        """Discard everything that must be read again."""
        self.is_restored, self.restoring, self.delivery, self.window = False, None, None, DuplicateWindow(1)
        self.inherited, self.acknowledged_through, self.stored_through = None, None, NOTHING_STORED
        self.trace = self.position = None
        self.pending, self.pending_bytes, self.prepared, self.insert_began = [], 0, None, None
        self.began.clear()


def count_within(messages: Sequence[Message], bytes_max: int) -> int:
    """Return how many of the first messages fit into so many bytes."""
    return bisect_right(list(accumulate(map(len, messages))), bytes_max)


def gaps_before(messages: Sequence[Message], expected: int) -> set[int]:
    """Return the offsets at which gaps begin, if the first message should have the offset `expected`."""
    gaps = set()
    for message in messages:
        if message.offset() != expected:
            gaps.add(expected)
        expected = message.offset() + 1
    return gaps
