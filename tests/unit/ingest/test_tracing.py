"""The spans of a call of ingest: which calls have one, the headers of their messages, and how both spans end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from google.rpc import code_pb2

from services.ingest.kafka.errors import DeliveryFailure
from services.ingest.metadata import read_metadata
from services.ingest.tracing import CallTracing
from tests.support.fakes.tracing import Spans, spans_in_memory

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
METHOD = "ugc.v1.IngestService/Produce"


@pytest.fixture
def spans() -> Iterator[Spans]:
    with spans_in_memory() as found:
        yield found


@pytest.mark.parametrize(
    ("metadata", "wanted"),
    [
        ([("traceparent", PARENT)], PARENT),
        ([("traceparent", PARENT), ("traceparent", PARENT)], ""),
        ([("traceparent", "00-malformed-01")], ""),
        ([("traceparent", b"00")], ""),
        ([("tracestate", "vendor=1")], ""),
        ([], ""),
    ],
)
def test_traceparent_of_a_call(metadata: list[tuple[str, str | bytes]], wanted: str) -> None:
    """A call has the one well-formed traceparent of its metadata."""
    assert read_metadata(metadata).traceparent == wanted


def test_messages_carry_their_span(spans: Spans) -> None:
    """The messages have the caller's other headers, and the traceparent of the span that wrote them."""
    call = CallTracing(spans.tracing, "ugc.events").open(METHOD, PARENT, "id-1")
    sending = call.sending([("x-request-id", b"id-1"), ("traceparent", PARENT.encode())], events=3)
    sending.end([])
    call.end(code_pb2.OK)

    sent, served = spans.ended
    assert sent.context is not None
    traceparent = f"00-{PARENT[3:35]}-{sent.context.span_id:016x}-01"
    assert sending.headers == [("x-request-id", b"id-1"), ("traceparent", traceparent.encode())]
    assert (sent.name, served.name) == ("send ugc.events", METHOD)
    assert spans.attributes[0]["messaging.batch.message_count"] == 3
    assert spans.attributes[1]["rpc.response.status_code"] == "OK"
    assert all("error.type" not in each for each in spans.attributes)


@pytest.mark.parametrize(("code", "is_error"), [(code_pb2.INVALID_ARGUMENT, False), (code_pb2.UNAVAILABLE, True)])
def test_errors_of_calls(spans: Spans, code: int, *, is_error: bool) -> None:
    """A call that fails by the server's fault is an error of its span, one that the client caused is not."""
    call = CallTracing(spans.tracing, "ugc.events").open(METHOD, PARENT, "id-1")
    call.end(code)

    (attributes,) = spans.attributes
    assert attributes["rpc.response.status_code"] == code_pb2.Code.Name(code)
    assert ("error.type" in attributes) == is_error


def test_events_that_are_not_acknowledged(spans: Spans) -> None:
    """The span of writing events has the number of those that failed, and a reason."""
    call = CallTracing(spans.tracing, "ugc.events").open(METHOD, PARENT, "id-1")
    with call.sending(None, events=3) as sending:
        sending.failures = [DeliveryFailure("broker down"), DeliveryFailure("broker down")]
    with pytest.raises(RuntimeError), call.sending(None, events=1):
        raise RuntimeError("cancelled")

    failed, cancelled = spans.ended
    assert dict(failed.attributes or {})["ugc.events_failed"] == 2
    assert dict(failed.events[0].attributes or {}) == {"reason": "broker down"}
    assert dict(cancelled.attributes or {})["error.type"] == "delivery"
