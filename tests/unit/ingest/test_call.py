"""Call: the request id and the trace, in Kafka's headers, in the answer and in the log."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import grpc
import pytest
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs
from structlog.typing import EventDict
from ugc.v1.event_pb2 import EventBatch
from ugc.v1.ingest_service_pb2_grpc import IngestServiceStub

from common import logs
from tests.support.clients.calls import FakePublisher, ingest_channel
from tests.support.inputs.events import documented, valid

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
SENT = (("x-request-id", "abc-1"), ("traceparent", PARENT), ("tracestate", "vendor=1"), ("cookie", "secret"))


@pytest.fixture
def publisher() -> FakePublisher:
    return FakePublisher()


@pytest.fixture
async def stub(publisher: FakePublisher) -> AsyncIterator[IngestServiceStub]:
    async with ingest_channel(publisher) as channel:
        yield IngestServiceStub(channel)  # type: ignore[no-untyped-call]  # generated


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[EventDict]]:
    """Capture log lines with the context variables of their task."""
    monkeypatch.setattr(logs, "CLIENT_LINES", logs.RateLimiter())
    with capture_logs([merge_contextvars]) as entries:
        yield entries


async def test_kafka_headers(stub: IngestServiceStub, publisher: FakePublisher) -> None:
    """Only the request id and the trace become Kafka headers; the answer has the request id."""
    call = stub.Produce(documented(), metadata=SENT)
    await call

    assert publisher.headers == [
        ("x-request-id", b"abc-1"),
        ("traceparent", PARENT.encode()),
        ("tracestate", b"vendor=1"),
    ]
    assert dict(await call.trailing_metadata())["x-request-id"] == "abc-1"
    await stub.BatchProduce(EventBatch(events=[documented()]), metadata=SENT[:1])
    assert publisher.headers == [("x-request-id", b"abc-1")]


async def test_rejections_are_logged_rate_limited(stub: IngestServiceStub, lines: list[EventDict]) -> None:
    """However many calls are rejected or fail, the log has one line of each kind above the level debug."""
    for event in [valid(movie_id="x"), valid(event_data="fail")] * 20:
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.Produce(event)

    assert [line["event"] for line in lines if line["log_level"] != "debug"] == [
        "calls are refused with INVALID_ARGUMENT",
        "events were not acknowledged",
        "calls are refused with UNAVAILABLE",
    ]


async def test_generated_id(stub: IngestServiceStub, publisher: FakePublisher) -> None:
    """Without a valid request id a call gets a generated one, and the Kafka messages get no headers."""
    made = set()
    for metadata in ((), (), (("x-request-id", "x" * 129),), (("x-request-id", ""),)):
        call = stub.Produce(documented(), metadata=metadata)
        await call
        made.add(dict(await call.trailing_metadata())["x-request-id"])
        assert publisher.headers is None

    assert len(made) == 4
    assert {len(name) for name in made} == {32}


async def test_errors_carry_the_id(stub: IngestServiceStub) -> None:
    """A failed call has the request id in its trailing metadata, beside the details."""
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await stub.Produce(valid(movie_id="x"), metadata=SENT)

    assert dict(failed.value.trailing_metadata()).keys() == {"x-request-id", "grpc-status-details-bin"}
    assert dict(failed.value.trailing_metadata())["x-request-id"] == "abc-1"


async def test_log_lines_carry_the_id(stub: IngestServiceStub, lines: list[EventDict]) -> None:
    """Each log line of a call has the request id of that call."""
    await stub.Produce(documented(), metadata=(("x-request-id", "first"),))
    for event in (valid(movie_id="x"), valid(event_data="fail")):
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.Produce(event, metadata=(("x-request-id", event.payload.movie_id),))

    assert [(line["event"], line["log_level"], line["request_id"]) for line in lines] == [
        ("accepted", "debug", "first"),
        ("refused", "debug", "x"),
        ("calls are refused with INVALID_ARGUMENT", "info", "x"),
        ("events were not acknowledged", "warning", documented().payload.movie_id),
        ("refused", "debug", documented().payload.movie_id),
        ("calls are refused with UNAVAILABLE", "info", documented().payload.movie_id),
    ]
