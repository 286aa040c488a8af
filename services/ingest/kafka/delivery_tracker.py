"""Tracks the delivery reports of one request."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from confluent_kafka import KafkaError, Message

from services.ingest.events.records import Record


class DeliveryTracker:
    """Counts the delivery reports of a request; `done` is set once, after the last one.

    librdkafka calls `on_delivery` on the poll thread; the request waits for `done` in the event loop. One future for
    each event would cost eight times as much (architecture/decisions/0002).
    """

    def __init__(self, expected: int) -> None:
        self.expected = expected
        self.reported = 0
        self.failed: list[tuple[bytes | None, KafkaError]] = []
        self._loop = asyncio.get_running_loop()
        self.done: asyncio.Future[None] = self._loop.create_future()
        if not expected:
            self._finish()

    def on_delivery(self, error: KafkaError | None, message: Message) -> None:
        """Process one delivery report; called on the poll thread."""
        if error is not None:
            self.failed.append((message.value(), error))
        self.reported += 1
        if self.reported == self.expected:
            self._loop.call_soon_threadsafe(self._finish)

    def expect(self, count: int) -> None:
        """Wait for only `count` reports, as the producer took no more records; called in the event loop."""
        # Each thread writes one of the two numbers and then reads the other, so at least one sees that they are equal.
        self.expected = count
        if self.reported == count:
            self._finish()

    def failures_by_index(self, records: Sequence[Record]) -> dict[int, KafkaError]:
        """Return the errors of the failed records by index; the search costs something only if a record failed."""
        if not self.failed:
            return {}
        # Records with equal values are the same event, so a failure may be assigned to any of them that the producer
        # took. The indexes are collected from the back, so that the first is popped first.
        indexes: dict[bytes, list[int]] = {}
        for index in reversed(range(self.expected)):
            indexes.setdefault(records[index].value, []).append(index)
        return {indexes[value].pop(): error for value, error in self.failed if value is not None}

    def _finish(self) -> None:
        if not self.done.done():
            self.done.set_result(None)
