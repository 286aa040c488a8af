"""Single records that wait for a moment, so that they share Kafka requests; a record that is alone does not wait.

The Kafka client's own `linger.ms` delays every record. Here the first record is sent at once. Those that come while
records are in flight are sent together, at most once in the linger time.
"""

from __future__ import annotations

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

    def add(self, record: Record, headers: Headers | None, on_report: OnReport, *, is_idle: bool) -> None:
        """Send a record at once if the producer is idle, or let it wait."""
        if is_idle and not self._waiting:
            self._sent_at = self._clock()
            self._send(record, headers, on_report)
            return
        self._waiting.append((record, headers, on_report))
        if len(self._waiting) >= WAITING_MAX or not self._linger_seconds:
            self.send_all()

    def send_due(self) -> bool:
        """Send the waiting records if their time has come; return whether any wait on."""
        if self._waiting and self._clock() - self._sent_at >= self._linger_seconds - EARLY_SECONDS:
            self.send_all()
        return bool(self._waiting)

    def send_all(self) -> None:
        """Send the waiting records."""
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        self._sent_at = self._clock()
        for record, headers, on_report in waiting:
            try:
                self._send(record, headers, on_report)
            except Exception as error:  # noqa: BLE001 -- the others have to be sent
                log_limited(logging.ERROR, "a call failed unexpectedly", exc_info=error)
                on_report(DeliveryFailure("the event was not sent to Kafka"))
