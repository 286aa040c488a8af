"""Delivery reports: the event loop itself asks the producer for them, often while records are in flight.

A thread that waits for reports would compete with the event loop for the interpreter, and would have to wake the loop
for each request. A poll that finds nothing costs half a microsecond.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from typing import Protocol

from common.logs import log_limited

# Time between two polls while records are in flight, the resolution of the event loop's timers; and while none are, for
# the errors that the producer reports.
BUSY_SECONDS = 0.001
IDLE_SECONDS = 0.1


class Pollable(Protocol):
    """The producers."""

    def poll(self) -> int:
        """Process the delivery reports that have arrived, without waiting; return how many records are in flight."""


class SendDue(Protocol):
    """Sends the records that wait and are due."""

    def __call__(self, *, is_idle: bool) -> bool:
        """Return whether any record waited; `is_idle`: no record is in flight."""


class ReportPolling:
    """Polls the producers from the event loop, while a block of `running` is open."""

    def __init__(
        self, producers: Pollable, send_due: SendDue, on_poll: Callable[[int], None] = lambda _in_flight: None
    ) -> None:
        """`send_due` is called after each poll; it sends the records that are due, and returns whether any waited.

        `on_poll` gets the number of records in flight.
        """
        self._producers = producers
        self._send_due = send_due
        self._on_poll = on_poll
        # Records handed to the producers without a report, as of the last poll.
        self.in_flight = 0
        self.is_busy = False
        self._next: asyncio.TimerHandle | None = None
        self._drained: asyncio.Future[None] | None = None

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Poll until the block ends."""
        self._schedule()
        try:
            yield
        finally:
            if self._next is not None:
                self._next.cancel()
                self._next = None

    def wake(self) -> None:
        """Poll often from now on, because a record was handed to the producer."""
        if not self.is_busy and self._next is not None:
            self.is_busy = True
            self._schedule()

    async def drain(self, seconds_max: float) -> int:
        """Wait until no record is in flight; return how many are after `seconds_max`."""
        self.wake()
        self.poll()
        if self.in_flight:
            self._drained = asyncio.get_running_loop().create_future()
            await asyncio.wait({self._drained}, timeout=seconds_max)
        return self.in_flight

    def poll(self) -> None:
        """Process the delivery reports that have arrived."""
        try:
            self.in_flight = self._producers.poll()
            self._on_poll(self.in_flight)
        except Exception as error:  # noqa: BLE001 -- without further polls no call would be answered
            log_limited(logging.ERROR, "processing Kafka's delivery reports failed unexpectedly", exc_info=error)

    def tick(self) -> None:
        """Poll, and schedule the next poll."""
        self.poll()
        try:
            has_waited = self._send_due(is_idle=not self.in_flight)
            self.is_busy = self.in_flight > 0 or has_waited
            if self._drained is not None and not self.is_busy and not self._drained.done():
                self._drained.set_result(None)
        finally:
            self._schedule()

    @property
    def next_seconds(self) -> float:
        """The time until the next poll."""
        return BUSY_SECONDS if self.is_busy else IDLE_SECONDS

    def _schedule(self) -> None:
        if self._next is not None:
            self._next.cancel()
        self._next = asyncio.get_running_loop().call_later(self.next_seconds, self.tick)
