"""A Kafka message as the ETL sees it; confluent_kafka's class has this shape."""

from __future__ import annotations

from typing import Protocol


class Message(Protocol):
    """One message of the topic."""

    def value(self) -> bytes | None:
        """Return the payload; None is a tombstone."""

    def partition(self) -> int:
        """Return the partition."""

    def offset(self) -> int:
        """Return the position in the partition."""

    def timestamp(self) -> tuple[int, int]:
        """Return the kind of timestamp, and the milliseconds since the Unix epoch."""

    def __len__(self) -> int:
        """Return the bytes of the payload."""
