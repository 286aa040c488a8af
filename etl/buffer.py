"""Messages waiting for their insert, by partition; says which batches are due. Pure: time comes in as an argument."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from etl.message import Message


@dataclass(frozen=True)
class FlushLimits:
    """A batch is due when it reaches any of these."""

    seconds: float
    rows: int
    bytes: int


@dataclass
class Pending:
    """The messages of one partition in the order of their offsets, and when the first of them came."""

    since: float
    messages: list[Message] = field(default_factory=list)
    bytes: int = 0


class Buffer:
    """The batches being filled."""

    def __init__(self, limits: FlushLimits) -> None:
        self._limits = limits
        self._pending: dict[int, Pending] = {}

    def add(self, messages: Iterable[Message], now: float) -> None:
        """Append messages to the batches of their partitions."""
        for message in messages:
            partition = message.partition()
            pending = self._pending.get(partition)
            if pending is None:
                pending = self._pending[partition] = Pending(now)
            pending.messages.append(message)
            pending.bytes += len(message)

    def due(self, now: float) -> list[int]:
        """Return the partitions whose batch has reached a limit."""
        limits = self._limits
        return [
            partition
            for partition, pending in self._pending.items()
            if now - pending.since >= limits.seconds
            or len(pending.messages) >= limits.rows
            or pending.bytes >= limits.bytes
        ]

    def partitions(self) -> list[int]:
        """Return the partitions that have messages waiting."""
        return list(self._pending)

    def take(self, partition: int) -> list[Message]:
        """Remove a partition's batch and return it; empty when there is none."""
        pending = self._pending.pop(partition, None)
        return pending.messages if pending else []

    def drop(self, partitions: Iterable[int]) -> None:
        """Forget batches of partitions that another member now reads from the committed offset."""
        for partition in partitions:
            self._pending.pop(partition, None)
