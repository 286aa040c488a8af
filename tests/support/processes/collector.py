"""A collector of spans in this process: OTLP over gRPC, as a test's code wants it to behave."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as messages
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as service
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.support.processes.system import await_equal

THREADS = 4


class Received:
    """A span with the name of the process that sent it, and its attributes as a dictionary."""

    def __init__(self, process: str, span: Span) -> None:
        self.process = process
        self.span = span
        self.name = span.name
        self.trace_id = span.trace_id.hex()
        self.id = span.span_id.hex()
        self.parent = span.parent_span_id.hex()
        self.kind = Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower()
        self.attributes = {each.key: scalar(each.value) for each in span.attributes}
        self.events = [each.name for each in span.events]
        self.links = [(each.trace_id.hex(), each.span_id.hex()) for each in span.links]

    @property
    def traceparent(self) -> str:
        """The traceparent that this span gives to what it calls."""
        return f"00-{self.trace_id}-{self.id}-01"


class Collector(service.TraceServiceServicer):
    """Keeps the spans that it receives; `refuse` and `wait` change how it answers."""

    def __init__(self) -> None:
        self.spans: list[Received] = []
        self.port = 0
        # The status with which it answers, None for OK.
        self.refuse: grpc.StatusCode | None = None
        # Set to let calls end.
        self.open = threading.Event()
        self.open.set()
        self.calls = 0

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def Export(  # noqa: N802 -- the name in the proto file
        self, request: messages.ExportTraceServiceRequest, context: grpc.ServicerContext
    ) -> messages.ExportTraceServiceResponse:
        """Take spans, or do what the test wants."""
        self.calls += 1
        self.open.wait()
        if self.refuse is not None:
            context.abort(self.refuse, "refused by the test")
        for resource in request.resource_spans:
            names = {each.key: each.value.string_value for each in resource.resource.attributes}
            self.spans += [
                Received(names["service.name"], span) for scope in resource.scope_spans for span in scope.spans
            ]
        return messages.ExportTraceServiceResponse()

    def named(self, name: str) -> list[Received]:
        return [each for each in list(self.spans) if each.name == name]

    def await_spans(self, name: str, count: int = 1) -> list[Received]:
        """Return the spans of a name once so many have arrived."""
        await_equal(lambda: len(self.named(name)) >= count, wanted=True)
        return self.named(name)


def scalar(value: object) -> object:
    """Return the value of an attribute."""
    return getattr(value, value.WhichOneof("value"))  # type: ignore[attr-defined]  # of OTLP's AnyValue


@contextlib.contextmanager
def collecting(prepare: Callable[[Collector], None] = lambda _collector: None) -> Iterator[Collector]:
    """Run a collector."""
    collector = Collector()
    prepare(collector)
    server = grpc.server(ThreadPoolExecutor(THREADS))
    service.add_TraceServiceServicer_to_server(collector, server)  # type: ignore[no-untyped-call]  # generated
    collector.port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield collector
    finally:
        collector.open.set()
        server.stop(None).wait()


def await_request(collector: Collector, topic: str) -> tuple[Received, Received, Received, Received]:
    """Return the four spans of the one request that was sent, in their order."""
    (sending,) = collector.await_spans(f"send {topic}")
    await_equal(lambda: len([span for span in collector.spans if span.trace_id == sending.trace_id]), 4)
    mine = [span for span in collector.spans if span.trace_id == sending.trace_id]
    by_kind = {(span.process, span.kind): span for span in mine}
    return (
        by_kind["ugc-gateway", "server"],
        by_kind["ugc-gateway", "client"],
        by_kind["ugc-ingest", "server"],
        sending,
    )
