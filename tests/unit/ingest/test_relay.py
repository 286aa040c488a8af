"""RelayService: each call of a shared frame ends as the same call alone, and none waits for another."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import grpc
import pytest
from google.rpc.code_pb2 import (
    DEADLINE_EXCEEDED,
    INTERNAL,
    INVALID_ARGUMENT,
    OK,
    PERMISSION_DENIED,
    RESOURCE_EXHAUSTED,
    UNAUTHENTICATED,
    UNAVAILABLE,
    UNIMPLEMENTED,
)
from google.rpc.status_pb2 import Status
from ugc.relay.v1.relay_service_pb2 import Answer, Call
from ugc.v1.event_pb2 import EventBatch
from ugc.v1.ingest_service_pb2 import BatchProduceResponse, ProduceResponse

from services.ingest.auth.authentication import Authenticator
from services.ingest.auth.claims import TokenRules
from services.ingest.auth.keys import read_secret
from services.ingest.events.records import Headers, Record
from services.ingest.kafka.errors import DeliveryFailure
from services.ingest.metadata import NAMES
from tests.support.clients.calls import BlockingPublisher, FakePublisher
from tests.support.clients.relay import BATCH_PRODUCE, PRODUCE, alone, call, relay, relayed
from tests.support.inputs.events import documented, valid
from tests.support.inputs.tokens import OTHER_SECRET, SECRET, USER, signed
from tests.support.processes.ingest_server import connection, ingest_server

EVENT = valid(event_id="018f5e2a-7b1c-7def-8abc-0123456789ab").SerializeToString()
PROCESSED = call(9, EVENT, "/unknown")  # its answer shows that its frame was processed
LARGE = valid(event_data="x" * 30_000, event_id="018f5e2a-7b1c-7def-8abc-0123456789ac").SerializeToString()
FAILING = valid(event_data="fail").SerializeToString()
OTHER_USERS = valid(user_id="7d3a0c52-91de-4c1a-8f0b-2c4b5d6e7f80").SerializeToString()
BATCH = EventBatch(events=[valid(), valid(movie_id="x"), valid(event_data="fail")]).SerializeToString()
BAD_BATCH = EventBatch(events=[valid(movie_id="x")] * 2).SerializeToString()
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
MINE, FORGED = f"Bearer {signed(sub=USER)}", f"Bearer {signed(OTHER_SECRET, sub=USER)}"


class BrokenPublisher(FakePublisher):
    """Raises an unexpected error for some events, before or while they are sent."""

    def send(
        self, record: Record, headers: Headers | None, on_report: Callable[[DeliveryFailure | None], None]
    ) -> None:
        if b"broken" in record.value:
            raise ZeroDivisionError("a secret of the server")
        super().send(record, headers, on_report)


@pytest.fixture
def publisher() -> BlockingPublisher:
    return BlockingPublisher()


@pytest.fixture
async def channel(publisher: BlockingPublisher) -> AsyncIterator[grpc.aio.Channel]:
    async with ingest_server(publisher) as address, connection(address) as channel:
        yield channel


def codes(answers: dict[int, Answer]) -> dict[int, int]:
    return {number: answer.status_code for number, answer in answers.items()}


async def test_every_verdict_as_alone() -> None:
    """Good, bad, unauthorised, failing and unknown calls of one frame end as alone: code, text, bytes and metadata."""
    rules = TokenRules(subject_is_user=True)
    authenticator = Authenticator(read_secret(SECRET), rules, cache_tokens_max=10)
    calls = [
        call(1, EVENT, authorization=MINE, x_request_id="abc-1", traceparent=TRACE),
        call(2, LARGE, authorization=MINE, x_request_id="abc-1", traceparent=TRACE),
        call(3, FAILING, authorization=MINE, x_request_id="abc-1", traceparent=TRACE),
        call(4, OTHER_USERS, authorization=MINE, x_request_id="abc-1", traceparent=TRACE),
        call(5, b"\xff\xff", authorization=MINE, x_request_id="abc-1", traceparent=TRACE),
        call(6, b"", authorization=MINE, x_request_id="abc-1", traceparent=TRACE),
        call(7, EVENT, authorization=FORGED, x_request_id="abc-1", traceparent=TRACE),
        call(8, EVENT, x_request_id="abc-1", traceparent=TRACE),
        call(9, BATCH, BATCH_PRODUCE, authorization=MINE, x_request_id="abc-1", traceparent=TRACE),
        call(10, BAD_BATCH, BATCH_PRODUCE, authorization=MINE, x_request_id="abc-1", traceparent=TRACE),
        call(11, BATCH, BATCH_PRODUCE, authorization=FORGED, x_request_id="abc-1", traceparent=TRACE),
        call(12, EVENT, "/ugc.v1.IngestService/Nothing", authorization=MINE, x_request_id="abc-1", traceparent=TRACE),
        call(13, b"", "/ugc.v1.DebugService/RandomBatchProduce", x_request_id="abc-1", traceparent=TRACE),
    ]
    publisher = FakePublisher()
    async with ingest_server(publisher, authenticator=authenticator) as address, connection(address) as channel:
        expected = {sent.id: await alone(channel, sent) for sent in calls}
        stored = len(publisher.records)
        assert publisher.headers is not None
        async with relay(channel) as client:
            await client.send(*calls)
            answers = await client.answers(len(calls))

    assert {number: relayed(answer) for number, answer in answers.items()} == expected
    assert len(publisher.records) == 2 * stored
    found = set(codes(answers).values())
    assert {OK, UNAVAILABLE, PERMISSION_DENIED, INVALID_ARGUMENT, UNAUTHENTICATED, UNIMPLEMENTED} <= found


async def test_kafka_headers() -> None:
    """The records of a relayed call have the headers of that call."""
    publisher = FakePublisher()
    async with ingest_server(publisher) as address, connection(address) as channel, relay(channel) as client:
        for number, name in enumerate(("first", "second"), 1):
            await client.send(call(number, EVENT, x_request_id=name, cookie="secret"))
            await client.answers(1)
            assert publisher.headers == [("x-request-id", name.encode())]


async def test_declaration(channel: grpc.aio.Channel) -> None:
    """The first frame names the metadata that ingest reads, and the methods that can be relayed."""
    async with relay(channel) as client:
        assert set(client.declaration.metadata_names) == NAMES
        assert {PRODUCE, BATCH_PRODUCE} <= set(client.declaration.methods)


async def test_slow_call(channel: grpc.aio.Channel, publisher: BlockingPublisher) -> None:
    """A call that waits for Kafka holds back no other call of its frame or of later frames."""
    async with relay(channel) as client:
        await client.send(call(1, EVENT), call(2, b"\xff"))
        assert codes(await client.answers(1)) == {2: INVALID_ARGUMENT}
        await client.send(call(3, b"\xff"))
        assert codes(await client.answers(1)) == {3: INVALID_ARGUMENT}
        publisher.free.set()
        assert codes(await client.answers(1)) == {1: OK}


@pytest.mark.parametrize("method", [PRODUCE, BATCH_PRODUCE])
async def test_cancelled_call(channel: grpc.aio.Channel, publisher: BlockingPublisher, method: str) -> None:
    """A cancelled call is not answered, its id can be used again, and an event that Kafka has already stays there."""
    message = EVENT if method == PRODUCE else EventBatch(events=[documented()]).SerializeToString()
    async with relay(channel) as client:
        await client.send(call(1, message, method), call(2, EVENT))
        await publisher.began(2)
        await client.send(call(3, b"\xff"), cancelled=[1, 3, 77])
        assert codes(await client.answers(1)) == {3: INVALID_ARGUMENT}
        await client.send(call(1, b"\xff"))
        assert codes(await client.answers(1)) == {1: INVALID_ARGUMENT}
        publisher.free.set()
        assert codes(await client.answers(1)) == {2: OK}

    assert len(publisher.records) == 2


async def test_cancelled_in_its_own_frame(channel: grpc.aio.Channel, publisher: BlockingPublisher) -> None:
    """A frame may cancel its own calls."""
    async with relay(channel) as client:
        await client.send(call(1, EVENT), call(2, EVENT), PROCESSED, cancelled=[1])
        await client.answers(1)
        publisher.free.set()
        assert codes(await client.answers(1)) == {2: OK}


@pytest.mark.parametrize("method", [PRODUCE, BATCH_PRODUCE])
async def test_deadline(channel: grpc.aio.Channel, publisher: BlockingPublisher, method: str) -> None:
    """A call ends at its own deadline; a call without one, or with a later one, goes on."""
    message = EVENT if method == PRODUCE else EventBatch(events=[documented()]).SerializeToString()
    async with relay(channel) as client:
        await client.send(call(1, message, method, 0.01), call(2, EVENT), call(3, EVENT, timeout_seconds=3_600))
        answer = (await client.answers(1))[1]
        publisher.free.set()
        assert codes(await client.answers(2)) == {2: OK, 3: OK}

    assert (answer.status_code, answer.status_message) == (DEADLINE_EXCEEDED, "Deadline Exceeded")


async def test_shed_call() -> None:
    """Calls beyond the limit of requests are rejected as alone; those before, cancelled and ended ones make room."""
    publisher = BlockingPublisher()
    server = ingest_server(publisher, ingest_requests_max=2)
    async with server as address, connection(address) as channel, relay(channel) as client:
        await client.send(call(1, EVENT), call(2, EVENT), call(3, EVENT, x_request_id="abc"))
        answers = await client.answers(1)
        expected = await alone(channel, call(3, EVENT, x_request_id="abc"))
        assert relayed(answers[3]) == expected
        assert expected.code == RESOURCE_EXHAUSTED
        await client.send(PROCESSED, cancelled=[1])
        await client.answers(1)
        publisher.free.set()
        assert codes(await client.answers(1)) == {2: OK}
        await client.send(call(4, EVENT), call(5, EVENT))
        assert codes(await client.answers(2)) == {4: OK, 5: OK}


async def test_broken_stream() -> None:
    """When a stream breaks, its calls no longer count, and others go on."""
    publisher = BlockingPublisher()
    async with ingest_server(publisher, ingest_requests_max=2) as address, connection(address) as channel:
        async with relay(channel) as client:
            await client.send(call(1, EVENT), call(2, EventBatch(events=[valid()]).SerializeToString(), BATCH_PRODUCE))
            await publisher.began(2)
        publisher.free.set()
        async with relay(channel) as client:
            status = Status(code=RESOURCE_EXHAUSTED)
            while status.code == RESOURCE_EXHAUSTED:  # until the server has noticed
                await client.send(call(1, EVENT), call(2, EVENT))
                status = Status(code=max(codes(await client.answers(2)).values()))

    assert status.code == OK


async def test_unexpected_error() -> None:
    """An unexpected error ends its own call with INTERNAL, without a detail of the server; the others go on."""
    broken = call(1, valid(event_data="broken").SerializeToString(), x_request_id="abc")
    async with ingest_server(BrokenPublisher()) as address, connection(address) as channel:
        expected = await alone(channel, broken)
        async with relay(channel) as client:
            await client.send(broken, call(2, EVENT))
            answers = await client.answers(2)

    assert relayed(answers[1]) == expected
    assert codes(answers) == {1: INTERNAL, 2: OK}


async def test_many_calls_in_few_frames(channel: grpc.aio.Channel, publisher: BlockingPublisher) -> None:
    """Answers that are ready at the same moment come in one frame, each with the response of its own call."""
    identities = [f"018f5e2a-7b1c-7def-8abc-{number:012x}" for number in range(200)]
    calls = [call(at + 1, valid(event_id=one).SerializeToString()) for at, one in enumerate(identities)]
    frames, found = 0, dict[int, Answer]()
    async with relay(channel) as client:
        await client.send(*calls)
        await publisher.began(len(calls))
        publisher.free.set()
        while len(found) < len(calls):
            response = await client.response()
            assert response is not None
            frames += 1
            found |= {answer.id: answer for answer in response.answers}

    assert [ProduceResponse.FromString(found[sent.id].message).event_id for sent in calls] == identities
    assert frames < 20


async def test_result_of_a_relayed_batch() -> None:
    """A batch has a result for each event, and its own HTTP status."""
    async with ingest_server(FakePublisher()) as address, connection(address) as channel, relay(channel) as client:
        await client.send(Call(id=1, method=BATCH_PRODUCE, message=BATCH))
        answer = (await client.answers(1))[1]

    response = BatchProduceResponse.FromString(answer.message)
    assert (response.accepted, [rejected.index for rejected in response.rejected]) == (1, [1, 2])
    assert (b"x-http-code", b"207") in zip(answer.metadata[::2], answer.metadata[1::2], strict=True)
