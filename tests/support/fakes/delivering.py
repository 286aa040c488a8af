"""Kafka and ClickHouse for tests of Delivery: they note what is asked of them, and fail when told to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from etl.block import EVENTS, REJECTED, Block, Coordinates
from etl.clock import ServerClock
from etl.delivery import Delivery
from etl.errors import DataRefusedError, SinkError, SourceError
from etl.events.duplicates import DuplicateWindow
from etl.events.rows import DUPLICATE
from etl.kafka.message import Message
from etl.partition import Partition
from etl.plan import Topic, read_position
from etl.refusals import Refusals
from tests.simulation.log import SimulatedMessage, decode

AT = Coordinates(Topic("ugc.events", "0d6be9f0-7c1f-4f5e-9f0f-3d2a6c1b8e55", "cluster"), 3)
FENCE_SECONDS = 5.0
NOW = 1_790_000_000_000
POISON = b"poison"


@dataclass
class Stores:
    """Kafka and ClickHouse: what was asked of them in its order, what they hold, and how they fail."""

    seconds: float = 0.0
    asked: list[str] = field(default_factory=list)
    committed: tuple[int, str] = (100, "")
    blocks: list[Block] = field(default_factory=list)
    rows: dict[int, str] = field(default_factory=dict)
    # Offsets of rows that are on one replica of two: inserted, acknowledged to nobody, not returned by ordinary reads.
    pending: set[int] = field(default_factory=set)
    commit_error: SourceError | None = None
    insert_error: SinkError | None = None
    insert_seconds: float = 0.0
    running: bool = False

    def commit(self, partition: int, offset: int, metadata: str) -> None:
        self.asked.append("plan" if '"end"' in metadata else "close")
        if self.commit_error:
            raise self.commit_error
        assert partition == AT.partition
        self.committed = (offset, metadata)

    def insert(self, block: Block) -> None:
        self.asked.append(f"insert {block.table}")
        self.blocks.append(block)
        self.seconds += self.insert_seconds
        if self.insert_error:
            raise self.insert_error
        if block.table == EVENTS and any(identity.startswith(POISON) for identity in block.columns[0]):
            raise DataRefusedError(6, "Cannot parse")
        offsets = block.columns[-1] if block.table == EVENTS else block.columns[0]
        reasons = block.columns[1] if block.table == REJECTED else [EVENTS] * len(offsets)
        self.rows |= dict(zip(offsets, reasons, strict=True))

    def recent(self, at: Coordinates, first: int, last: int) -> tuple[Sequence[int], Sequence[bytes]]:
        assert at == AT
        found = [offset for offset in sorted(self.rows) if self.rows[offset] in (EVENTS, DUPLICATE)]
        return [offset for offset in found if first <= offset <= last], ()

    def begin_probes(self) -> None:
        pass

    def end_probes(self) -> None:
        pass

    def probe(self, block: Block, *, thorough: bool) -> None:
        del thorough
        self.asked.append("probe")
        self.seconds += self.insert_seconds
        if any(identity.startswith(POISON) for identity in block.columns[0]):
            raise DataRefusedError(6, "Cannot parse")

    def takes_any(self, at: Coordinates, before: int, *, thorough: bool) -> bool:
        del before, thorough
        assert at == AT
        return True

    def now(self) -> int:
        return NOW + round(self.seconds * 1_000)

    def is_inserting(self, at: Coordinates) -> bool:
        assert at == AT
        return self.running

    def held(self, at: Coordinates, first: int, last: int) -> set[int]:
        assert at == AT
        self.asked.append("held")
        return {offset for offset in self.rows if first <= offset <= last}

    def confirmed(self, at: Coordinates, first: int, last: int) -> set[int]:
        assert at == AT
        self.asked.append("confirmed")
        return {offset for offset in self.rows if first <= offset <= last} - self.pending

    def plan_end(self) -> int | None:
        """Return where the plan ends that Kafka holds."""
        plan = read_position(AT.topic.identity, *self.committed).plan
        return None if plan is None else plan.end


def made(stores: Stores, in_a_row_max: int = 1_000, skew_seconds: float = 0.0) -> Delivery:
    clock = ServerClock(FENCE_SECONDS, lambda: stores.seconds)
    clock.sync(stores.now())
    return Delivery(stores, stores, clock, Refusals(1.0, in_a_row_max), skew_seconds, decode)


def opened() -> Partition:
    partition = Partition(AT.partition, AT, is_open=True, window=DuplicateWindow(50))
    partition.stand_at(100)
    return partition


def messages(identities: Iterable[bytes | None], start: int = 100) -> Sequence[Message]:
    return [SimulatedMessage(AT.partition, start + index, identity, 0) for index, identity in enumerate(identities)]
