"""A fake of the Kafka producer whose delivery reports the test chooses."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from confluent_kafka import KafkaError

TOPIC = "ugc.events"
TIMED_OUT = KafkaError(KafkaError._MSG_TIMED_OUT)


class Report:
    """A delivery report's message."""

    def __init__(self, value: bytes) -> None:
        self._value = value

    def value(self) -> bytes:
        return self._value


class ScriptedProducer:
    """Takes `room` records, then raises; reports for each record whether it was stored, from a thread of its own."""

    def __init__(self, room: int, error: Exception, *, failing: Callable[[int], bool], late: bool) -> None:
        self.room = room
        self.error = error
        self.failing = failing
        self.late = late
        self.taken: list[tuple[bytes, bytes]] = []
        self.reports: list[Callable[[], None]] = []

    def produce(self, topic: str, value: bytes, key: bytes, partition: int, delivered: Any, *_: Any) -> None:
        assert (topic, partition) == (TOPIC, -1)
        index = len(self.taken)
        if index == self.room:
            # Not the object itself: its traceback would keep the callback, and so the request would wait.
            raise type(self.error)(*self.error.args)
        self.taken.append((key, value))
        error = TIMED_OUT if self.failing(index) else None
        report = threading.Thread(target=delivered, args=(error, Report(value)))
        if self.late:
            self.reports.append(report.start)
        else:
            report.start()
            report.join()

    def report(self) -> None:
        """Send the reports that were kept back, and keep no reference to their callback."""
        reports, self.reports = self.reports, []
        for start in reports:
            start()
