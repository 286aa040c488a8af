"""Single records that wait for a moment, so that they share Kafka requests; a record that is alone does not wait.

The Kafka client's own `linger.ms` delays every record. Here records are sent when none is in flight, all that have come
in one iteration of the event loop together, and those that come meanwhile after that. So requests seldom overlap, and
many records share one: the client's thread takes 50 to 80 microseconds for each request.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import TypeAlias

from common.logs import log_limited
from services.ingest.events.records import Headers, Record
from services.ingest.kafka.errors import DeliveryFailure

OnReport: TypeAlias = Callable[[DeliveryFailure | None], None]
Send: TypeAlias = Callable[[Record, Headers | None, OnReport], None]
# Records that may wait; one more and all are sent.
WAITING_MAX = 500
# Event loops run a timer up to half a millisecond early.
EARLY_SECONDS = 0.0005


class Lingering:
    """The single records of a process that wait."""

    def __init__(self, send: Send, linger_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._send = send
        self._linger_seconds = linger_seconds
        self._clock = clock
        self._waiting: list[tuple[Record, Headers | None, OnReport]] = []
        self._sent_at = -linger_seconds
        self._is_scheduled = False

    @property
    def waiting(self) -> int:
        """The number of records that wait."""
        return len(self._waiting)

    def add(self, record: Record, headers: Headers | None, on_report: OnReport, *, is_idle: bool) -> None:
        """Send a record in this iteration of the event loop if the producer is idle; otherwise let it wait."""
        self._waiting.append((record, headers, on_report))
        if len(self._waiting) >= WAITING_MAX:
            self.send_all()
        elif is_idle and not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self.send_all)

    def send_due(self, *, is_idle: bool) -> bool:
        """Send the waiting records if the producer is idle, or they have waited for long; return whether any waited."""
        if not self._waiting:
            return False
        if is_idle or self._clock() - self._sent_at >= self._linger_seconds - EARLY_SECONDS:
            self.send_all()
        return True

    def send_all(self) -> None:
        """Send the waiting records."""
        self._is_scheduled = False
        waiting, self._waiting = self._waiting, []
        self._sent_at = self._clock()
        for record, headers, on_report in waiting:
            try:
                self._send(record, headers, on_report)
            except Exception as error:  # noqa: BLE001 -- the others have to be sent
                log_limited(logging.ERROR, "a call failed unexpectedly", exc_info=error)
                on_report(DeliveryFailure("the event was not sent to Kafka"))
