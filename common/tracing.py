"""Spans of sampled requests, sent to a collector by OTLP in a thread of their own.

The packages of OpenTelemetry are an extra: they are imported when an endpoint is set. Nothing of them is touched for a
request that is not sampled, as even an unsampled span would cost 6 us.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import wait
from typing import TYPE_CHECKING, Literal, TypeAlias

from common.commands import DISTRIBUTION, product_version
from common.threads import in_thread
from common.trace_context import SPAN_ID, TRACE_ID
from common.trace_settings import TraceSettings

if TYPE_CHECKING:
    from opentelemetry.trace import Link, Tracer
    from opentelemetry.trace import Span as LibrarySpan

    from common.span_queue import SpanQueue

# How long the end of the process waits until its last spans are sent.
END_SECONDS_MAX = 2.0
# The limits of one span, beside those of the queue (span_queue.py).
ATTRIBUTES_MAX, EVENTS_MAX, LINKS_MAX, TEXT_CHARACTERS_MAX = 32, 8, 128, 512
Attributes: TypeAlias = Mapping[str, str | int | bool]
Kind: TypeAlias = Literal["server", "client", "producer", "consumer", "internal"]


class Span:
    """An open span of a sampled request."""

    __slots__ = ("_span", "_tracing", "trace_id", "traceparent")

    def __init__(self, tracing: Tracing, span: LibrarySpan) -> None:
        context = span.get_span_context()
        self._tracing = tracing
        self._span = span
        self.trace_id = f"{context.trace_id:032x}"
        # What the receiver of a call or a message gets.
        self.traceparent = f"00-{self.trace_id}-{context.span_id:016x}-01"

    def child(self, name: str, kind: Kind, attributes: Attributes | None = None) -> Span:
        """Open a span within this one."""
        return self._tracing.span(name, kind, self.traceparent, attributes, is_remote=False)

    def set(self, name: str, value: str | int | bool) -> None:
        """Set an attribute."""
        self._span.set_attribute(name, value)

    def rename(self, name: str) -> None:
        """Change the name, which depends on what was found out after the start."""
        self._span.update_name(name)

    def event(self, name: str, attributes: Attributes | None = None) -> None:
        """Note that something happened."""
        self._span.add_event(name, attributes)

    def end(self, error: str = "") -> None:
        """End the span; `error` names the kind of a failure."""
        if error:
            from opentelemetry.trace import StatusCode

            self._span.set_attribute("error.type", error)
            self._span.set_status(StatusCode.ERROR)
        self._span.end()


class Tracing:
    """Opens the spans of a process."""

    def __init__(self, tracer: Tracer, queue: SpanQueue) -> None:
        from opentelemetry import trace

        self._api = trace
        self._tracer = tracer
        self._queue = queue
        self._kinds = {each.name.lower(): each for each in trace.SpanKind}

    @property
    def dropped(self) -> int:
        """How many spans were not sent: too many were waiting, or the collector did not take them."""
        return self._queue.dropped

    def span(
        self,
        name: str,
        kind: Kind,
        parent: str = "",
        attributes: Attributes | None = None,
        links: Iterable[str] = (),
        *,
        is_remote: bool = True,
    ) -> Span:
        """Open a span in the trace of a well-formed traceparent, or in a new one; `links` are traceparents too."""
        context = self._api.set_span_in_context(self._parent(parent, is_remote=is_remote)) if parent else None
        span = self._tracer.start_span(
            name, context, self._kinds[kind], attributes, [self._link(each) for each in links][:LINKS_MAX]
        )
        return Span(self, span)

    def _parent(self, traceparent: str, *, is_remote: bool) -> LibrarySpan:
        sampled = self._api.TraceFlags(self._api.TraceFlags.SAMPLED)
        trace_id, span_id = int(traceparent[TRACE_ID], 16), int(traceparent[SPAN_ID], 16)
        return self._api.NonRecordingSpan(self._api.SpanContext(trace_id, span_id, is_remote, sampled))

    def _link(self, traceparent: str) -> Link:
        return self._api.Link(self._parent(traceparent, is_remote=True).get_span_context())


@contextlib.contextmanager
def tracing(settings: TraceSettings, process: str, worker: int | None = None) -> Iterator[Tracing | None]:
    """Yield what opens the spans of a process, None without an endpoint; at the end the last spans are sent."""
    if not settings.trace_endpoint:
        yield None
        return
    # Read by gRPC when it is imported. Its core would write lines of its own form to standard error.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import SpanLimits, TracerProvider
    from opentelemetry.sdk.trace.sampling import ALWAYS_ON

    from common.span_queue import span_queue

    instance = f"{socket.gethostname()}:{os.getpid()}"
    resource = {"service.name": f"ugc-{process}", "service.version": product_version(), "service.instance.id": instance}
    provider = TracerProvider(
        # Spans are opened for sampled requests only.
        sampler=ALWAYS_ON,
        resource=Resource.create({**resource, **({} if worker is None else {"ugc.worker": worker})}),
        shutdown_on_exit=False,
        span_limits=SpanLimits(
            max_span_attributes=ATTRIBUTES_MAX,
            max_events=EVENTS_MAX,
            max_links=LINKS_MAX,
            max_span_attribute_length=TEXT_CHARACTERS_MAX,
        ),
    )
    queue = span_queue(settings.trace_endpoint)
    provider.add_span_processor(queue)
    try:
        yield Tracing(provider.get_tracer(DISTRIBUTION, product_version()), queue)
    finally:
        wait([in_thread(provider.shutdown)], END_SECONDS_MAX)
        queue.abandon()
