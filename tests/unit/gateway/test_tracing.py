"""Which requests of the gateway are traced, and how the spans of a request and its call end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from google.rpc import code_pb2
from multidict import CIMultiDict, CIMultiDictProxy

from gateway.tracing import RequestTrace, RequestTracing, log_context
from tests.support.fakes.tracing import Spans, spans_in_memory

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
TRACE_ID = PARENT[3:35]
UNSAMPLED = f"{PARENT[:-1]}0"
CALL = "/ugc.v1.IngestService/Produce"


@pytest.fixture
def spans() -> Iterator[Spans]:
    with spans_in_memory() as found:
        yield found


def headers(*traceparents: str) -> CIMultiDictProxy[str]:
    return CIMultiDictProxy(CIMultiDict([("Traceparent", each) for each in traceparents]))


def begun(spans: Spans, *traceparents: str, ratio: float = 0.0) -> RequestTrace | None:
    return RequestTracing(spans.tracing, ratio, "ingest:50051").begin(headers(*traceparents), "POST", "/x/{id}", "id-1")


@pytest.mark.parametrize(
    ("traceparents", "ratio", "traced"),
    [
        ((PARENT,), 0.0, True),
        ((UNSAMPLED,), 1.0, False),
        ((), 0.0, False),
        ((), 1.0, True),
        (("00-malformed-01",), 1.0, False),
        ((PARENT, PARENT), 1.0, False),
        ((PARENT.upper(),), 1.0, False),
    ],
)
def test_traced_requests(spans: Spans, traceparents: tuple[str, ...], ratio: float, *, traced: bool) -> None:
    """The client's flag decides; only a request that brings no traceparent is sampled by the gateway."""
    trace = begun(spans, *traceparents, ratio=ratio)

    assert (trace is not None) == traced
    assert trace is None or (trace.trace_id == TRACE_ID) == bool(traceparents)


def test_ratio(spans: Spans) -> None:
    """The ratio is the share of the requests that are traced."""
    tracing = RequestTracing(spans.tracing, 0.25, "ingest:50051")
    traced = sum(tracing.begin(headers(), "POST", "/x", "id") is not None for _ in range(2_000))

    # Beyond eight standard deviations of the binomial distribution.
    assert 345 < traced < 655


def test_call(spans: Spans) -> None:
    """A call has the traceparent of its span and the client's tracestate; made again, it keeps its span."""
    trace = begun(spans, PARENT)
    assert trace is not None
    given = [("x-request-id", "id-1"), ("traceparent", PARENT), ("tracestate", "vendor=1")]
    first, again = trace.calling(CALL, given), trace.calling(CALL, given)
    trace.called(code_pb2.UNAVAILABLE)
    trace.end(503)

    call, request = spans.ended
    assert call.context is not None
    assert first == again == [given[0], given[2], ("traceparent", f"00-{TRACE_ID}-{call.context.span_id:016x}-01")]
    assert call.parent is not None
    assert request.context is not None
    assert call.parent.span_id == request.context.span_id
    assert (call.name, request.name) == (CALL[1:], "POST /x/{id}")
    assert spans.attributes == [
        {
            "rpc.system.name": "grpc",
            "rpc.method": CALL[1:],
            "server.address": "ingest:50051",
            "rpc.response.status_code": "UNAVAILABLE",
            "error.type": "UNAVAILABLE",
        },
        {
            "http.request.method": "POST",
            "http.route": "/x/{id}",
            "ugc.request_id": "id-1",
            "http.response.status_code": 503,
            "error.type": "503",
        },
    ]


def test_call_without_a_verdict(spans: Spans) -> None:
    """The span of a call whose client has disconnected ends with the request; an answer below 500 is not an error."""
    trace = begun(spans, PARENT)
    assert trace is not None
    trace.calling(CALL, [])
    trace.end(499)

    call, request = spans.attributes
    assert call["rpc.response.status_code"] == "CANCELLED"
    assert "error.type" not in request


@pytest.mark.parametrize(
    ("traceparents", "wanted"),
    [((), {}), ((UNSAMPLED,), {"trace_id": TRACE_ID}), (("malformed",), {}), ((PARENT, PARENT), {})],
)
def test_log_context(traceparents: tuple[str, ...], wanted: dict[str, str]) -> None:
    """Log lines have the request id, and the id of a trace whether it is sampled or not."""
    assert log_context("id-1", headers(*traceparents), None) == {"request_id": "id-1", **wanted}
