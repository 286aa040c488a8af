"""Spans that stay in memory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from common.tracing import Tracing


class Spans:
    """Opens spans with `tracing`, and keeps those that have ended."""

    def __init__(self, provider: TracerProvider, exporter: InMemorySpanExporter) -> None:
        self.tracing = Tracing(provider.get_tracer("test"), None)  # type: ignore[arg-type]  # nothing is dropped
        self._exporter = exporter

    @property
    def ended(self) -> tuple[ReadableSpan, ...]:
        return self._exporter.get_finished_spans()

    @property
    def attributes(self) -> list[dict[str, object]]:
        return [dict(span.attributes or {}) for span in self.ended]


@contextlib.contextmanager
def spans_in_memory() -> Iterator[Spans]:
    """Yield what opens and keeps spans."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield Spans(provider, exporter)
    provider.shutdown()
