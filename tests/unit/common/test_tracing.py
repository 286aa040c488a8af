"""Spans reach the collector with their parents and links; a collector that fails costs spans, and nothing else."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator

import grpc
import pytest
from opentelemetry.sdk.trace import TracerProvider
from pydantic import ValidationError
from structlog.testing import capture_logs

from common import span_queue, trace_settings
from common.settings import EXIT_BAD_SETTING, load
from common.span_queue import ANSWER_SECONDS_MAX, SPANS_MAX, LastText, Sender, SpanQueue
from common.trace_context import is_sampled, trace_id_of
from common.trace_settings import TraceSettings
from common.tracing import END_SECONDS_MAX, LINKS_MAX, TEXT_CHARACTERS_MAX, Tracing, tracing
from local.processes.ports import free_port
from tests.support.processes.collector import Collector, collecting
from tests.support.processes.system import await_equal

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture(autouse=True)
def library_log() -> Iterator[None]:
    """Restore the library's logger."""
    library = logging.getLogger(span_queue.LIBRARY)
    handlers, propagate = list(library.handlers), library.propagate
    yield
    library.handlers[:], library.propagate = handlers, propagate


@contextlib.contextmanager
def opened(endpoint: str) -> Iterator[Tracing]:
    with tracing(TraceSettings(trace_endpoint=endpoint), "test", worker=2) as found:
        assert found is not None
        yield found


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as running:
        yield running


def test_spans_arrive(collector: Collector) -> None:
    """A span is in the trace of its parent, has its attributes, and its children and links are what was said."""
    with opened(collector.endpoint) as own:
        span = own.span("POST /x", "server", PARENT, {"http.route": "/x"})
        child = span.child("call", "client")
        child.event("recovered", {"offset": 7})
        child.end("UNAVAILABLE")
        span.set("http.response.status_code", 503)
        span.rename("POST /y")
        span.end()
        own.span("process", "consumer", links=[PARENT, span.traceparent]).end()

    call, server, process = collector.await_spans("call") + collector.named("POST /y") + collector.named("process")
    assert (server.trace_id, server.parent, server.kind) == (trace_id_of(PARENT), PARENT[36:52], "server")
    assert server.attributes == {"http.route": "/x", "http.response.status_code": 503}
    assert (server.process, server.traceparent) == ("ugc-test", span.traceparent)
    assert (call.trace_id, call.parent, call.kind, call.events) == (server.trace_id, server.id, "client", ["recovered"])
    assert call.attributes == {"error.type": "UNAVAILABLE"}
    assert call.span.status.code == call.span.status.STATUS_CODE_ERROR
    assert (process.parent, process.kind) == ("", "consumer")
    assert process.trace_id not in {server.trace_id, ""}
    assert process.links == [(server.trace_id, PARENT[36:52]), (server.trace_id, server.id)]


def test_spans_are_bounded(collector: Collector) -> None:
    """Neither texts nor links make a span large."""
    with opened(collector.endpoint) as own:
        own.span("large", "server", attributes={"text": "x" * 100_000}, links=[PARENT] * 1_000).end()

    (span,) = collector.await_spans("large")
    assert span.attributes == {"text": "x" * TEXT_CHARACTERS_MAX}
    assert len(span.links) == LINKS_MAX


@pytest.mark.parametrize(
    ("flags", "sampled"), [("00", False), ("01", True), ("02", False), ("03", True), ("ff", True), ("0e", False)]
)
@pytest.mark.parametrize("rest", ["", "-later"])
def test_sampled_flag(flags: str, rest: str, *, sampled: bool) -> None:
    """The lowest bit of the flags decides, also in a later version of the header."""
    assert is_sampled(f"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-{flags}{rest}") == sampled


def test_no_trace() -> None:
    """A request without traceparent is not sampled, and has no trace id."""
    assert not is_sampled("")
    assert trace_id_of("") == ""


def test_without_an_endpoint() -> None:
    """Without an endpoint there is nothing that could open a span."""
    with tracing(TraceSettings(), "test") as found:
        assert found is None


def test_queue_is_bounded() -> None:
    """While a collector does not answer, spans beyond the limit are dropped and counted; later ones are sent."""
    with collecting() as collector, opened(collector.endpoint) as own:
        collector.open.clear()
        for _ in range(SPANS_MAX + 500):
            own.span("waiting", "server").end()
        assert own.dropped == 500

        collector.open.set()
        collector.await_spans("waiting", SPANS_MAX)
        own.span("later", "server").end()
        collector.await_spans("later")
        assert own.dropped == 500
        assert len(collector.named("waiting")) == SPANS_MAX


def test_links_are_bounded() -> None:
    """Spans with many links take more memory, so that fewer of them wait."""
    with collecting() as collector, opened(collector.endpoint) as own:
        collector.open.clear()
        for _ in range(300):
            own.span("linked", "consumer", links=[PARENT] * LINKS_MAX).end()
        waiting = span_queue.LINKS_MAX // LINKS_MAX
        assert own.dropped == 300 - waiting

        collector.open.set()
        collector.await_spans("linked", waiting)

        # The collector has the spans a moment before their sender has its answer, and until then they count as waiting.
        def later() -> int:
            own.span("later", "consumer", links=[PARENT]).end()
            return len(collector.named("later"))

        await_equal(lambda: later() > 0, wanted=True)


def test_collector_that_refuses(collector: Collector) -> None:
    """Spans that a collector refuses are lost and counted, with one line that has its reason, until it works again."""
    collector.refuse = grpc.StatusCode.PERMISSION_DENIED
    with capture_logs() as lines, opened(collector.endpoint) as own:
        for count in range(1, 4):
            own.span("refused", "server").end()
            await_equal(lambda: own.dropped, count)
        collector.refuse = None
        own.span("taken", "server").end()
        collector.await_spans("taken")
        await_equal(lambda: len(lines), 2)

    assert [(line["event"], line.get("failures")) for line in lines] == [
        ("sending spans failed, retrying", None),
        ("sending spans works again", 3),
    ]
    assert "refused by the test" in lines[0]["error"]


def test_collector_that_is_away() -> None:
    """Nothing waits for a collector that is away, neither a span nor the end of the process."""
    with opened(f"http://127.0.0.1:{free_port()}") as own:
        for _ in range(3 * SPANS_MAX):
            own.span("lost", "server").end()
        dropped = own.dropped

    assert dropped >= 2 * SPANS_MAX - 1


def test_thread_ends_with_the_block() -> None:
    """Spans that wait for a collector which is away do not keep the sending thread: it would retry for minutes."""
    before = set(threading.enumerate())
    with opened(f"http://127.0.0.1:{free_port()}") as own:
        for _ in range(SPANS_MAX):
            own.span("lost", "server").end()
        started = [each for each in threading.enumerate() if each not in before and each.name.startswith("Otel")]

    for each in started:
        each.join(ANSWER_SECONDS_MAX + END_SECONDS_MAX)
    assert started
    assert not [each.name for each in started if each.is_alive()]


def test_errors_of_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception in the exporter loses the spans of its request, and not the thread that sends."""
    done = threading.Event()

    class Broken:
        def export(self, _spans: object) -> object:
            done.set()
            raise RuntimeError("a defect")

        def shutdown(self) -> None:
            pass

    monkeypatch.setattr(span_queue, "DELAY_MILLISECONDS", 1)
    queue = SpanQueue(Sender(Broken()))  # type: ignore[arg-type]  # has what is called of it
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(queue)
    for count in range(1, 3):
        provider.get_tracer("test").start_span("lost").end()
        await_equal(lambda: queue.dropped, count)
    provider.shutdown()

    assert done.is_set()


def test_reason_of_the_library() -> None:
    """The reason of a failure is the last text that the library logged."""
    handler = LastText()
    handler.emit(logging.LogRecord("x", logging.ERROR, "x.py", 1, "Failed: %s", ("no route",), None))

    assert handler.text == "Failed: no route"


@pytest.mark.parametrize(
    "endpoint",
    ["localhost:4317", "grpc://localhost:4317", "http://localhost", "http://user:pw@localhost:4317", "http://a:1/v1"],
)
def test_endpoints_that_are_not_valid(endpoint: str) -> None:
    """An endpoint names a scheme, a host and a port, and nothing else."""
    with pytest.raises(ValidationError):
        TraceSettings(trace_endpoint=endpoint)


def test_missing_packages(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Without the extra an endpoint is a bad setting that names what to install; without an endpoint all is well."""
    monkeypatch.setattr(trace_settings, "PACKAGES", ("opentelemetry_is_missing.sdk",))
    assert load(TraceSettings).trace_endpoint == ""
    monkeypatch.setenv("UGC_TRACE_ENDPOINT", "http://localhost:4317")
    with pytest.raises(SystemExit) as ended:
        load(TraceSettings)

    assert ended.value.code == EXIT_BAD_SETTING
    assert "bad setting UGC_TRACE_ENDPOINT" in (written := capsys.readouterr().err)
    assert "ugc-events[traces]" in written
