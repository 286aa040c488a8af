"""Kafka and ClickHouse as the loader and the delivery use them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from etl.batch import StoredEvents
from etl.events.rows import Message
from etl.plan import Block, Coordinates
from etl.search import Prober


class Commits(Protocol):
    """Where plans and offsets are committed."""

    def commit(self, partition: int, offset: int, metadata: str) -> None:
        """Commit synchronously; SourceError unless Kafka acknowledges it."""


class Source(Commits, Protocol):
    """Where messages come from, and where the group commits."""

    def poll(self, count: int, seconds: float) -> Sequence[Message]:
        """Return up to `count` messages of resumed partitions; the callbacks of a rebalance run inside."""

    def resume(self, partition: int, offset: int) -> None:
        """Deliver a partition's messages from an offset on."""

    def pause(self, partition: int) -> None:
        """Deliver no messages of a partition until it is resumed."""

    def lag(self, partition: int, offset: int) -> int:
        """Return how many messages the log held from an offset on when its end was last seen; 0 if it was not."""


class Listener(Protocol):
    """Receives the changes of the assignment. Called inside poll; must not raise."""

    def on_assigned(self, partitions: Iterable[int]) -> None:
        """Partitions were assigned."""

    def on_revoked(self, partitions: Iterable[int]) -> None:
        """Partitions are about to be revoked, and are still owned."""

    def on_lost(self, partitions: Iterable[int]) -> None:
        """Partitions were lost; other members may own them already."""

    def on_offset_out_of_range(self, number: int) -> None:
        """Kafka does not have the next offset of a partition."""


class Sink(Prober, StoredEvents, Protocol):
    """Where rows are stored."""

    def insert(self, block: Block) -> None:
        """Store a block; DataRefusedError if a value is at fault, else SinkError; after either it may be stored."""

    def earliest_now(self, at: Coordinates, first: int) -> int:
        """Return the earliest time in milliseconds of the servers that may get inserts of offsets from `first` on."""

    def is_inserting(self, at: Coordinates, first: int) -> bool:
        """Whether an insert of offsets from `first` on of the partition is running, on any server."""

    def stored_offsets(self, at: Coordinates, first: int, last: int) -> set[int]:
        """Return which offsets from `first` to `last` any server holds, confirmed or not: these are not inserted."""

    def confirmed_offsets(self, at: Coordinates, first: int, last: int) -> set[int]:
        """Return which offsets from `first` to `last` a quorum has confirmed: only these may be committed."""
