"""The spans of a call: one from its arrival to its end, and in it that of writing its events to Kafka."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

from google.rpc.code_pb2 import Code

from common.trace_context import TRACEPARENT
from common.tracing import Span, Tracing
from services.ingest.events.records import Headers
from services.ingest.kafka.errors import DeliveryFailure

# The codes that are an error of the server, by the semantic conventions of OpenTelemetry.
SERVER_ERRORS = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})


# The failure of events whose call was cancelled before Kafka has acknowledged them.
UNKNOWN = DeliveryFailure("the call has ended before")


class CallTracing:
    """Opens the spans of sampled calls."""

    def __init__(self, tracing: Tracing, topic: str) -> None:
        """`topic` is the topic of the events."""
        self._tracing = tracing
        self._topic = topic

    def open(self, method: str, traceparent: str, request_id: str) -> CallSpan:
        """Open the span of a call of a method, given as `package.Service/Method`, with a sampled traceparent."""
        attributes = {"rpc.system.name": "grpc", "rpc.method": method, "ugc.request_id": request_id}
        return CallSpan(self._tracing.span(method, "server", traceparent, attributes), self._topic)


class CallSpan:
    """The open span of a call."""

    __slots__ = ("_span", "_topic", "trace_id")

    def __init__(self, span: Span, topic: str) -> None:
        self._span = span
        self._topic = topic
        self.trace_id = span.trace_id

    def sending(self, headers: Headers | None, events: int) -> Sending:
        """Open the span of writing events to Kafka; `headers` are those of the messages without a trace."""
        attributes: dict[str, str | int] = {
            "messaging.system": "kafka",
            "messaging.destination.name": self._topic,
            "messaging.operation.type": "send",
            "messaging.batch.message_count": events,
        }
        return Sending(self._span.child(f"send {self._topic}", "producer", attributes), headers)

    def end(self, code: int) -> None:
        """End the span with the call's code."""
        name = Code.Name(code)
        self._span.set("rpc.response.status_code", name)
        self._span.end(name if name in SERVER_ERRORS else "")


class Sending:
    """The open span of writing events, and the headers with which their messages carry it."""

    __slots__ = ("_span", "failures", "headers")

    def __init__(self, span: Span, headers: Headers | None) -> None:
        self._span = span
        kept = [header for header in headers or () if header[0] != TRACEPARENT]
        self.headers: Headers = [*kept, (TRACEPARENT, span.traceparent.encode())]
        # Set by whoever uses it as context manager.
        self.failures: Iterable[DeliveryFailure] = [UNKNOWN]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end(self.failures)

    def end(self, failures: Iterable[DeliveryFailure]) -> None:
        """End the span when Kafka has acknowledged the events, or when some have failed."""
        reasons = [failure.reason for failure in failures]
        if reasons:
            self._span.set("ugc.events_failed", len(reasons))
            self._span.event("failed", {"reason": reasons[0]})
        self._span.end("delivery" if reasons else "")
