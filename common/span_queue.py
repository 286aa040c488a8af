"""The queue of ended spans, and their way to the collector: bounded, and every span that is lost is counted.

Imports OpenTelemetry: import this module only where traces are enabled.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from common.outage_log import OutageLog

# Spans that wait for the collector or are being sent, and links of all of them; further ones are dropped. A span takes
# about 4 kB of memory, and 0.7 kB for each link.
SPANS_MAX, LINKS_MAX = 2_048, 16_384
# Spans of one request to the collector, how long spans wait for others, and how long the collector may take to answer.
REQUEST_SPANS_MAX = 256
DELAY_MILLISECONDS = 1_000
ANSWER_SECONDS_MAX = 5.0
LIBRARY = "opentelemetry"


class NotTakenError(Exception):
    """The collector did not take spans."""


class LastText(logging.Handler):
    """Keeps the last text that the library logs: its exporter reports in no other way why it failed."""

    text = "no reason was given"

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the text."""
        self.text = record.getMessage()


class Sender(SpanExporter):
    """Sends spans in the thread of BatchSpanProcessor, and logs an outage of the collector as one."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._outage = OutageLog("sending spans")
        self._reason = LastText()
        library = logging.getLogger(LIBRARY)
        library.handlers[:], library.propagate = [self._reason], False
        # How many spans have been sent or lost, the links of all of them, and how many spans were lost.
        self.done = self.done_links = self.lost = 0
        self._is_abandoned = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send spans; they are lost when the collector does not take them in time."""
        if self._is_abandoned:
            self.lost += len(spans)
            return SpanExportResult.FAILURE
        try:
            result, reason = self._exporter.export(spans), self._reason.text
        except Exception as error:  # noqa: BLE001 -- any error of the library loses these spans and nothing else
            result, reason = SpanExportResult.FAILURE, f"{type(error).__name__}: {error}"
        if result is SpanExportResult.SUCCESS:
            self._outage.over()
        else:
            self.lost += len(spans)
            self._outage.failed(NotTakenError(reason), spans=len(spans))
        self.done += len(spans)
        self.done_links += sum(len(span.links) for span in spans)
        return result

    def shutdown(self) -> None:
        """Close the connection to the collector."""
        self._exporter.shutdown()

    def abandon(self) -> None:
        """Send no further spans, and end a call to the collector that runs; the thread then ends at once."""
        self._is_abandoned = True
        self._exporter.shutdown()


class SpanQueue(SpanProcessor):
    """Takes ended spans, all in one thread, and never waits."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        # Its own queue is never full, because it would log a line for each span that it drops, and counts none.
        self._batches = BatchSpanProcessor(
            sender,
            max_queue_size=2 * SPANS_MAX,
            schedule_delay_millis=DELAY_MILLISECONDS,
            max_export_batch_size=REQUEST_SPANS_MAX,
        )
        self._taken = self._taken_links = self._refused = 0

    @property
    def dropped(self) -> int:
        """How many spans were not sent: too many were waiting, or the collector did not take them."""
        return self._refused + self._sender.lost

    def on_end(self, span: ReadableSpan) -> None:
        """Take a span, or drop it."""
        links = self._taken_links - self._sender.done_links + len(span.links)
        if self._taken - self._sender.done >= SPANS_MAX or links > LINKS_MAX:
            self._refused += 1
            return
        self._taken += 1
        self._taken_links += len(span.links)
        self._batches.on_end(span)

    def shutdown(self) -> None:
        """Send what waits, and end."""
        self._batches.shutdown()  # type: ignore[no-untyped-call]  # of the library

    def abandon(self) -> None:
        """Drop what still waits; the thread ends."""
        self._sender.abandon()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Send what waits."""
        return self._batches.force_flush(timeout_millis)


def span_queue(endpoint: str) -> SpanQueue:
    """Return the queue of spans for a collector, given as `http://host:port` or `https://host:port`."""
    return SpanQueue(Sender(OTLPSpanExporter(endpoint, timeout=ANSWER_SECONDS_MAX)))
