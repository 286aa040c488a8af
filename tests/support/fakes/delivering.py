"""Kafka and ClickHouse for tests of Delivery: fakes that record their calls, and fail as a test configures them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from etl.delivery import Delivery
from etl.errors import DataRefusedError, SinkError, SourceError
from etl.events.duplicates import DuplicateWindow
from etl.events.rows import DUPLICATE, Message
from etl.metrics import EtlMetrics
from etl.partition import Partition
from etl.plan import EVENTS, REJECTED, Block, Coordinates, ServerClock, Topic, read_position
from etl.refusals import Refusals
from tests.simulation.log import SimulatedMessage, decode
from tests.support.fakes.sinks import ProbingFake, identities_of, offsets_of

AT = Coordinates(Topic("ugc.events", "0d6be9f0-7c1f-4f5e-9f0f-3d2a6c1b8e55", "cluster"), 3)
FENCE_SECONDS = 5.0
NOW = 1_790_000_000_000
POISON = b"poison"


@dataclass
class Stores(ProbingFake):
    """Kafka and ClickHouse: the calls in their order, the stored rows and commits, and the errors to raise."""

    seconds: float = 0.0
    calls: list[str] = field(default_factory=list)
    committed: tuple[int, str] = (100, "")
    blocks: list[Block] = field(default_factory=list)
    rows: dict[int, str] = field(default_factory=dict)
    # Offsets of rows on one replica of two: inserted but not acknowledged, and not returned by ordinary reads.
    pending: set[int] = field(default_factory=set)
    commit_error: SourceError | None = None
    insert_error: SinkError | None = None
    insert_seconds: float = 0.0
    running: bool = False

    def commit(self, partition: int, offset: int, metadata: str) -> None:
        self.calls.append("plan" if '"end"' in metadata else "commit")
        if self.commit_error:
            raise self.commit_error
        assert partition == AT.partition
        self.committed = (offset, metadata)

    def insert(self, block: Block) -> None:
        self.calls.append(f"insert {block.table}")
        self.blocks.append(block)
        self.seconds += self.insert_seconds
        if self.insert_error:
            raise self.insert_error
        if block.table == EVENTS:
            self.refuse_poison(block)
        offsets = offsets_of(block)
        reasons = map(str, block.columns[1]) if block.table == REJECTED else [EVENTS] * len(offsets)
        self.rows |= dict(zip(offsets, reasons, strict=True))

    def recent_identities(self, at: Coordinates, first: int, last: int) -> tuple[Sequence[int], Sequence[bytes]]:
        assert at == AT
        found = [offset for offset in sorted(self.rows) if self.rows[offset] in (EVENTS, DUPLICATE)]
        return [offset for offset in found if first <= offset <= last], ()

    def probe(self, block: Block, *, thorough: bool) -> None:
        del thorough
        self.calls.append("probe")
        self.seconds += self.insert_seconds
        self.refuse_poison(block)

    def refuse_poison(self, block: Block) -> None:
        if any(identity.startswith(POISON) for identity in identities_of(block)):
            raise DataRefusedError(6, "Cannot parse")

    def earliest_now(self, at: Coordinates = AT, first: int = 0) -> int:
        del first
        return self.now(at)

    def now(self, at: Coordinates = AT) -> int:
        assert at == AT
        return NOW + round(self.seconds * 1_000)

    def is_inserting(self, at: Coordinates, first: int) -> bool:
        del first
        assert at == AT
        return self.running

    def stored_offsets(self, at: Coordinates, first: int, last: int) -> set[int]:
        assert at == AT
        self.calls.append("stored")
        return {offset for offset in self.rows if first <= offset <= last}

    def confirmed_offsets(self, at: Coordinates, first: int, last: int) -> set[int]:
        assert at == AT
        self.calls.append("confirmed")
        return {offset for offset in self.rows if first <= offset <= last} - self.pending

    def plan_end(self) -> int | None:
        """Return the end of the plan in Kafka's commit."""
        plan = read_position(AT.topic.identity, *self.committed).plan
        return None if plan is None else plan.end


def deliver(delivery: Delivery, partition: Partition, messages: Sequence[Message]) -> None:
    """Deliver a batch to the end."""
    deque(delivery.deliver(partition, delivery.prepare(messages)), maxlen=0)


def recover(delivery: Delivery, partition: Partition, messages: Sequence[Message]) -> None:
    """Recover a batch to the end."""
    deque(delivery.recover(partition, delivery.prepare(messages)), maxlen=0)


def made(
    stores: Stores, in_a_row_max: int = 1_000, skew_seconds: float = 0.0, metrics: EtlMetrics | None = None
) -> Delivery:
    clock = ServerClock(FENCE_SECONDS, lambda: stores.seconds)
    clock.sync(stores.now())
    return Delivery(stores, stores, clock, Refusals(1.0, in_a_row_max), skew_seconds, decode, metrics=metrics)


def restored() -> Partition:
    partition = Partition(AT.partition, AT, is_restored=True, window=DuplicateWindow(50))
    partition.seek(100)
    return partition


def messages(identities: Iterable[bytes | None], start: int = 100) -> Sequence[Message]:
    return [SimulatedMessage(AT.partition, start + index, identity, 0) for index, identity in enumerate(identities)]
