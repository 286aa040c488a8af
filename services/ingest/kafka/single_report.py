"""The delivery report of a single record, which the Kafka client passes to Python only if it is a failure.

The client keeps one reference to a message's callback until it has processed the message's report, as in
delivery_tracker.py. So the end of the callback object is the report.
"""

from __future__ import annotations

from collections.abc import Callable

from confluent_kafka import KafkaError, Message


class SingleReport:
    """The callback of one message; calls `on_report` when the client releases it, with the failure or None.

    Nothing happens before `expect` is called, so that a message which the producer rejects is not reported.
    """

    __slots__ = ("_failure", "_on_report")

    def __init__(self) -> None:
        self._failure: KafkaError | None = None
        self._on_report: Callable[[KafkaError | None], None] | None = None

    def __call__(self, error: KafkaError | None, _message: Message) -> None:
        """Process the delivery report."""
        self._failure = error

    def expect(self, on_report: Callable[[KafkaError | None], None]) -> None:
        """Expect the report, because the producer has taken the message; the caller drops its reference next."""
        self._on_report = on_report

    def __del__(self) -> None:
        if self._on_report is not None:
            self._on_report(self._failure)
