"""Kafka messages for tests, with the methods of confluent_kafka's."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FakeMessage:
    """A message that was not read from Kafka."""

    payload: bytes | None
    at: int = 0
    of_partition: int = 0
    milliseconds: int = 1_700_000_000_456

    def value(self) -> bytes | None:
        return self.payload

    def offset(self) -> int:
        return self.at

    def partition(self) -> int:
        return self.of_partition

    def timestamp(self) -> tuple[int, int]:
        return 1, self.milliseconds

    def __len__(self) -> int:
        return len(self.payload or b"")
