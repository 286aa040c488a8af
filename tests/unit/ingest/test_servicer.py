"""IngestService over a real gRPC channel, with a publisher that fails where the test wants."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

import grpc
import pytest
from google.rpc.error_details_pb2 import BadRequest, RetryInfo
from ugc.v1.event_pb2 import Event, EventBatch, EventRecord
from ugc.v1.ingest_service_pb2_grpc import IngestServiceStub

from services.ingest.call import StatusError
from services.ingest.events.validation import EventValidator, batch_limits
from services.ingest.servicer import IngestServicer
from tests.support.clients.calls import (
    EVENT_BYTES_MAX,
    RETRY_SECONDS,
    FakePublisher,
    failure,
    ingest_channel,
    plain_call,
)
from tests.support.inputs.events import documented, valid


@pytest.fixture
def publisher() -> FakePublisher:
    return FakePublisher()


@pytest.fixture
async def channel(publisher: FakePublisher) -> AsyncIterator[grpc.aio.Channel]:
    async with ingest_channel(publisher) as channel:
        yield channel


@pytest.fixture
def stub(channel: grpc.aio.Channel) -> IngestServiceStub:
    return IngestServiceStub(channel)  # type: ignore[no-untyped-call]  # generated


async def http_code(call: grpc.aio.UnaryUnaryCall[bytes, bytes]) -> str:
    return str(dict(await call.trailing_metadata())["x-http-code"])


async def test_produce(stub: IngestServiceStub, publisher: FakePublisher) -> None:
    """An event is stored as it was sent, with the user_id as key, an identity and the time of receipt."""
    call = stub.Produce(documented())
    answer = await call

    assert await http_code(call) == "201"
    assert uuid.UUID(answer.event_id).version == 7
    (sent,) = publisher.records
    stored = EventRecord.FromString(sent.value)
    assert sent.key == documented().payload.user_id.encode()
    assert stored.event == documented()
    assert stored.event_id == uuid.UUID(answer.event_id).bytes
    assert stored.received_at > 1_700_000_000_000


async def test_idempotency_key(stub: IngestServiceStub, publisher: FakePublisher) -> None:
    """The client's event_id is the identity of the event, and is returned in lower case."""
    key = "018F5E2A-7B1C-7DEF-8ABC-0123456789AB"
    answer = await stub.Produce(valid(event_id=key))

    await stub.BatchProduce(EventBatch(events=[valid(event_id=key)]))

    assert answer.event_id == key.lower()
    assert [EventRecord.FromString(record.value).event_id for record in publisher.records] == [uuid.UUID(key).bytes] * 2


@pytest.mark.parametrize("count", [3, 300])
async def test_some_have_idempotency_keys(stub: IngestServiceStub, publisher: FakePublisher, count: int) -> None:
    """In a batch an event keeps its client's event_id, and each other one gets an identity of its own."""
    keys = {number: uuid.UUID(int=number + 1, version=4) for number in range(0, count, 2)}
    events = [valid(event_id=str(keys[at])) if at in keys else valid() for at in range(count)]

    await stub.BatchProduce(EventBatch(events=events))

    stored = [uuid.UUID(bytes=EventRecord.FromString(record.value).event_id) for record in publisher.records]
    assert {at: stored[at] for at in keys} == keys
    assert {stored[at].version for at in range(1, count, 2)} == {7}
    assert len(set(stored)) == count


async def test_same_user_same_key(stub: IngestServiceStub, publisher: FakePublisher) -> None:
    """A user_id in upper case gives the same key."""
    event = valid(user_id=documented().payload.user_id.upper())
    await stub.Produce(event)
    await stub.BatchProduce(EventBatch(events=[event]))

    assert [record.key for record in publisher.records] == [documented().payload.user_id.encode()] * 2


async def test_invalid(stub: IngestServiceStub, publisher: FakePublisher) -> None:
    """An invalid event is INVALID_ARGUMENT with its fields, and nothing is written."""
    status = await failure(stub.Produce(valid(movie_id="x", event="")))
    details = BadRequest()

    assert status.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert status.message.startswith("payload.movie_id: must be a UUID")
    assert status.details[0].Unpack(details)
    assert [each.field for each in details.field_violations] == ["payload.movie_id", "payload.event"]
    assert publisher.records == []


async def test_unavailable(stub: IngestServiceStub) -> None:
    """An event that Kafka has not acknowledged is UNAVAILABLE with a delay."""
    status = await failure(stub.Produce(valid(event_data="fail")))
    retry = RetryInfo()

    assert status.code == grpc.StatusCode.UNAVAILABLE.value[0]
    assert status.details[0].Unpack(retry)
    assert retry.retry_delay.ToMilliseconds() == RETRY_SECONDS * 1000


async def test_batch(stub: IngestServiceStub, publisher: FakePublisher) -> None:
    """All events of a valid batch are accepted."""
    call = stub.BatchProduce(EventBatch(events=[documented()] * 3))
    answer = await call

    assert (answer.accepted, list(answer.rejected)) == (3, [])
    assert await http_code(call) == "201"
    assert len({EventRecord.FromString(record.value).event_id for record in publisher.records}) == 3


async def test_partly_accepted_batch(stub: IngestServiceStub, publisher: FakePublisher) -> None:
    """Invalid events do not abort a batch: each has its error by index, the others are stored."""
    events = [documented(), valid(movie_id="x"), valid(event_data="fail"), documented()]
    call = stub.BatchProduce(EventBatch(events=events))
    answer = await call

    assert await http_code(call) == "207"
    assert answer.accepted == 2
    results = {rejected.index: rejected.error for rejected in answer.rejected}
    assert {index: error.code for index, error in results.items()} == {1: 3, 2: 14}
    assert results[1].details[0].Is(BadRequest.DESCRIPTOR)
    assert results[2].details[0].Is(RetryInfo.DESCRIPTOR)
    assert len(publisher.records) == 3


async def test_invalid_batch(stub: IngestServiceStub, publisher: FakePublisher) -> None:
    """If no event is accepted the response is the error, with the fields by their path in the batch."""
    status = await failure(stub.BatchProduce(EventBatch(events=[valid(movie_id="x"), Event()])))
    details = BadRequest()

    assert status.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert status.details[0].Unpack(details)
    assert [each.field for each in details.field_violations] == ["events[0].payload.movie_id", "events[1].payload"]
    assert publisher.records == []


async def test_unavailable_batch(stub: IngestServiceStub) -> None:
    """If no event is accepted and some can be retried the response is UNAVAILABLE."""
    events = [valid(event_data="fail"), valid(movie_id="x")]

    assert (await failure(stub.BatchProduce(EventBatch(events=events)))).code == grpc.StatusCode.UNAVAILABLE.value[0]


async def test_error_fits_a_header(stub: IngestServiceStub) -> None:
    """The error of 10,000 invalid events fits into gRPC's limit for headers."""
    events = [valid(movie_id="\u044b" * 50, event="!", event_timestamp=-1)] * 10_000

    status = await failure(stub.BatchProduce(EventBatch(events=events)))
    assert status.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert status.message.endswith("(and at least 10213 more)")


async def test_number_of_violations(stub: IngestServiceStub) -> None:
    """A repeated violation is counted exactly; of many different ones the count is a lower bound."""
    mistaken = {"movie_id": "x", "event_timestamp": -1}
    same = [valid(**mistaken)] * 50
    different = [valid(**mistaken, event_data=str(number)) for number in range(50)]

    assert (await failure(stub.BatchProduce(EventBatch(events=same)))).message.endswith("(and 99 more)")
    assert (await failure(stub.BatchProduce(EventBatch(events=different)))).message.endswith("(and at least 59 more)")


async def test_response_fits_a_client(stub: IngestServiceStub) -> None:
    """The response of 9,999 rejected events fits into the 4 MiB that a client accepts; the first have all details."""
    bad = valid(movie_id="\U0001f600" * 50, user_id="x" * 50, event="!", event_timestamp=-1, language="x" * 50)

    answer = await stub.BatchProduce(EventBatch(events=[documented(), *[bad] * 9_999]))
    assert (answer.accepted, len(answer.rejected)) == (1, 9_999)
    assert len(answer.rejected[0].error.details) == 1
    assert answer.rejected[0].error.message.endswith("(and 4 more)")
    assert answer.rejected[-1].error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert answer.ByteSize() < 4 * 1024 * 1024


async def test_millions_of_empty_events() -> None:
    """A request of 4,000,000 empty events is rejected by their number without creating an object for each."""
    servicer = IngestServicer(EventValidator(EVENT_BYTES_MAX), batch_limits(), FakePublisher(), RETRY_SECONDS)
    with pytest.raises(StatusError, match="not 4000000"):
        await servicer.batch_produce(b"\x0a\x00" * 4_000_000, plain_call())


@pytest.mark.parametrize(("count", "expected"), [(0, "not 0"), (10_001, "not 10001")])
async def test_batch_size(stub: IngestServiceStub, count: int, expected: str) -> None:
    """A batch has 1 to 10,000 events."""
    status = await failure(stub.BatchProduce(EventBatch(events=[Event()] * count)))

    assert status.message == f"events: must have 1 to 10000 events, {expected}"


async def test_garbage(channel: grpc.aio.Channel) -> None:
    """Bytes that are not a valid message are INVALID_ARGUMENT, never an internal error."""
    for method in ("Produce", "BatchProduce"):
        raw: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/ugc.v1.IngestService/{method}")
        status = await failure(raw(b"\xff\xff\xff"))

        assert status.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
