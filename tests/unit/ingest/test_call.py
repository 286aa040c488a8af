"""What travels beside a message: the request id, the trace, and where they are seen again."""

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
    """Capture log lines with what is bound to their task."""
    monkeypatch.setattr(logs, "CLIENT_LINES", logs.Repeats())
    with capture_logs([merge_contextvars]) as entries:
        yield entries


async def test_passed_on(stub: IngestServiceStub, publisher: FakePublisher) -> None:
    """The id and the trace go beside the events to Kafka, nothing else does; the id comes back."""
    call = stub.Produce(documented(), metadata=SENT)
    await call

    assert publisher.headers == [
        ("x-request-id", b"abc-1"),
        ("traceparent", PARENT.encode()),
        ("tracestate", b"vendor=1"),
    ]
    assert dict(await call.initial_metadata())["x-request-id"] == "abc-1"
    await stub.BatchProduce(EventBatch(events=[documented()]), metadata=SENT[:1])
    assert publisher.headers == [("x-request-id", b"abc-1")]


async def test_refusals_are_not_a_line_each(stub: IngestServiceStub, lines: list[EventDict]) -> None:
    """However many calls are refused or fail, the log has one line of each kind, and more only for debugging."""
    for event in [valid(movie_id="x"), valid(event_data="fail")] * 20:
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.Produce(event)

    assert [line["event"] for line in lines if line["log_level"] != "debug"] == [
        "calls are refused with INVALID_ARGUMENT",
        "events were not acknowledged",
        "calls are refused with UNAVAILABLE",
    ]


async def test_made_when_absent(stub: IngestServiceStub, publisher: FakePublisher) -> None:
    """Without an id, or with one that is too long, each call gets one of ours; Kafka gets no headers."""
    made = set()
    for metadata in ((), (), (("x-request-id", "x" * 129),), (("x-request-id", ""),)):
        call = stub.Produce(documented(), metadata=metadata)
        await call
        made.add(dict(await call.initial_metadata())["x-request-id"])
        assert publisher.headers is None

    assert len(made) == 4
    assert {len(name) for name in made} == {32}


async def test_errors_carry_the_id(stub: IngestServiceStub) -> None:
    """A refused call has the id in its trailing metadata, beside the details."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.Produce(valid(movie_id="x"), metadata=SENT)

    assert dict(refused.value.trailing_metadata()).keys() == {"x-request-id", "grpc-status-details-bin"}
    assert dict(refused.value.trailing_metadata())["x-request-id"] == "abc-1"


async def test_log_lines_carry_the_id(stub: IngestServiceStub, lines: list[EventDict]) -> None:
    """Every line that a call causes has its id, and none has another's."""
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
