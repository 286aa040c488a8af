"""Tracks the delivery reports of one request: they are counted in C, by the references that the Kafka client holds.

The client keeps one reference to a message's callback until it has processed the message's report. All messages of a
request share one callback object, so the object is released exactly when the last report has been processed. The
producer is configured to call it for failures only (`delivery.report.only.error`), so a report of success costs no call
of Python (architecture/decisions/0002).
"""

from __future__ import annotations

import asyncio
import threading
import weakref

from confluent_kafka import KafkaError, Message

from services.ingest.events.records import Records


class DeliveryCallback:
    """The callback of all messages of a request, which keeps the failures."""

    __slots__ = ("__weakref__", "failed")

    def __init__(self) -> None:
        self.failed: list[tuple[bytes | None, KafkaError]] = []

    def __call__(self, error: KafkaError | None, message: Message) -> None:
        """Process one delivery report."""
        if error is not None:
            # Noted before the value is read: if that fails, the request must not be answered with success.
            self.failed.append((None, error))
            self.failed[-1] = message.value(), error


class DeliveryTracker:
    """Waits for the delivery reports of a request; `done` is set once, after the last one.

    `callback` is passed with each message. After the last message `seal` has to be called, when no other reference to
    the callback is left.
    """

    def __init__(self) -> None:
        self.callback: DeliveryCallback | None = DeliveryCallback()
        # Records that the producer has taken.
        self.taken = 0
        self.failed = self.callback.failed
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self.done: asyncio.Future[None] = self._loop.create_future()
        # Kept here, because a weak reference that no longer exists reports nothing.
        self._reference = weakref.ref(self.callback, self._on_release)

    def seal(self) -> None:
        """Let `done` be set when the reports of all messages so far are there, which may be now."""
        self.callback = None

    def failures_by_index(self, records: Records, taken: int) -> dict[int, KafkaError]:
        """Return the errors of the failed records by index; the producer took the first `taken` records.

        All of them count as failed if one failed that cannot be assigned. The search costs something only if a record
        failed.
        """
        if not self.failed:
            return {}
        # Records with equal values are the same event, so a failure may be assigned to any of them that the producer
        # took. The indexes are collected from the back, so that the first is popped first.
        indexes: dict[bytes, list[int]] = {}
        for index in reversed(range(taken)):
            indexes.setdefault(records.values[index], []).append(index)
        failures: dict[int, KafkaError] = {}
        for value, error in self.failed:
            of_value = indexes.get(value or b"")
            if not of_value:
                return dict.fromkeys(range(taken), error)
            failures[of_value.pop()] = error
        return failures

    def _on_release(self, _reference: weakref.ref[DeliveryCallback]) -> None:
        """Set `done`, on the thread that has released the callback."""
        if threading.get_ident() == self._thread:
            self._finish()
        else:
            self._loop.call_soon_threadsafe(self._finish)

    def _finish(self) -> None:
        if not self.done.done():
            self.done.set_result(None)
