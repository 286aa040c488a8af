"""What the loader knows of one partition that is ours: where it stands and what waits. No I/O; time is an argument."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from etl.block import Coordinates
from etl.events.duplicates import DuplicateWindow
from etl.kafka.message import Message
from etl.plan import Plan

NOTHING_STORED = -1
# Of the wait after a failure; more would overflow in an outage of hours.
DOUBLINGS_MAX = 20


@dataclass(frozen=True)
class FlushLimits:
    """A batch is due when it reaches any of these.

    `seconds` are those of the moment: while there is a backlog, full batches are worth waiting for.
    """

    seconds: float
    rows: int
    bytes: int


@dataclass(frozen=True)
class LoaderLimits:
    """How much at a time, and how patiently."""

    flush: FlushLimits
    poll_rows: int
    retry_seconds_min: float
    retry_seconds_max: float

    def retry_seconds(self, failures: int) -> float:
        """Return how long to wait after so many failures before the next."""
        return min(self.retry_seconds_min * float(2 ** min(failures, DOUBLINGS_MAX)), self.retry_seconds_max)


@dataclass
class Partition:
    """One partition. It is closed until what Kafka and ClickHouse say of it was read, and again after any failure."""

    number: int
    # Which topic's partition it is, known once it was opened.
    at: Coordinates | None = None
    is_open: bool = False
    # Whether Kafka was asked to deliver nothing more for now.
    is_held: bool = False
    # Not worked on before this moment.
    wait_until: float = 0.0
    failures: int = 0
    # What is left to read before it is open; None before the first step and after the last.
    opening: Iterator[None] | None = None
    # The offset of the next message to take; what comes before it was taken already.
    next_offset: int = 0
    # Where the log was seen to lack offsets: the second time it is believed.
    gaps: set[int] = field(default_factory=set)
    # What Kafka holds: everything before it is stored.
    committed: int = 0
    # A plan found in Kafka whose insert may have happened in part, and may still be happening.
    inherited: Plan | None = None
    # The largest offset that ClickHouse holds already, though Kafka says less.
    stored_through: int = NOTHING_STORED
    # Until this moment of ClickHouse's clock, in milliseconds, an insert of a former owner may begin.
    quiet_after: int = 0
    # Up to here everything is stored, but Kafka does not know yet; the next plan or an idle moment tells it.
    unclosed: int | None = None
    window: DuplicateWindow = field(default_factory=lambda: DuplicateWindow(1))
    pending: list[Message] = field(default_factory=list)
    pending_bytes: int = 0
    since: float = 0.0
    # The delivery of the first `delivered` messages that wait, when it needs more than one turn.
    delivery: Iterator[None] | None = None
    delivered: int = 0

    def stand_at(self, offset: int) -> None:
        """Go on from an offset, which is what Kafka holds."""
        self.committed = self.next_offset = offset
        self.gaps = {gap for gap in self.gaps if gap >= offset}

    def take(self, messages: Sequence[Message], now: float) -> bool:
        """Append messages in the order of the log; False when some are missing in between, and nothing is taken."""
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
        """Whether the batch has reached a limit; one that was planned by another is due when it is complete."""
        if not self.is_open or now < self.wait_until or not self.pending:
            return False
        if self.delivery is not None:
            return True
        if self.inherited is not None:
            return self.next_offset > self.inherited.end
        return (
            now - self.since >= limits.seconds or len(self.pending) >= limits.rows or self.pending_bytes >= limits.bytes
        )

    def is_idle(self, limits: FlushLimits, now: float) -> bool:
        """Whether something was stored that Kafka does not know, and nothing more has come for a while."""
        return self.unclosed is not None and not self.pending and now - self.since >= limits.seconds

    def has_stood(self, seconds: float, now: float) -> bool:
        """Whether it is open and has had nothing to do for a while."""
        return self.is_open and not self.pending and now - self.since >= seconds

    def is_fresh(self) -> bool:
        """Whether something waits of which ClickHouse has nothing yet."""
        return (
            self.is_open
            and self.delivery is None
            and self.inherited is None
            and bool(self.pending)
            and self.pending[0].offset() > self.stored_through
        )

    def may_load(self) -> bool:
        """Whether something waits to be stored, or whether it does is not known, as after a failure."""
        return bool(self.pending or self.failures) or self.delivery is not None or not self.is_open

    def batch(self, limits: FlushLimits) -> Sequence[Message]:
        """Return what is inserted next: what an inherited plan names, else as much as the limits allow."""
        if self.inherited is not None:
            end = self.inherited.end
            return [message for message in self.pending if message.offset() <= end]
        batch = self.pending[: limits.rows]
        # Only where messages are large it is asked how many of them fit; one always does.
        return batch if self.pending_bytes <= limits.bytes else batch[: max(1, count_within(batch, limits.bytes))]

    def drop(self, count: int, now: float) -> None:
        """Remove the first messages: they are stored."""
        del self.pending[:count]
        self.pending_bytes = sum(map(len, self.pending))
        self.since = now

    def close(self) -> None:
        """Forget everything that must be read again."""
        self.is_open, self.opening, self.delivery, self.window = False, None, None, DuplicateWindow(1)
        self.inherited, self.unclosed, self.stored_through = None, None, NOTHING_STORED
        self.pending, self.pending_bytes = [], 0


def count_within(messages: Sequence[Message], bytes_max: int) -> int:
    """Return how many messages from the first on have together no more bytes than that."""
    return bisect_right(list(accumulate(map(len, messages))), bytes_max)


def gaps_before(messages: Sequence[Message], expected: int) -> set[int]:
    """Return where gaps begin before and between messages of which `expected` should be the first."""
    gaps = set()
    for message in messages:
        if message.offset() != expected:
            gaps.add(expected)
        expected = message.offset() + 1
    return gaps
