"""Authentication of calls: without a valid token nothing is stored; a bound token stores only its own user's events."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import grpc
from google.rpc.error_details_pb2 import BadRequest
from ugc.v1.debug_service_pb2 import RandomBatchProduceRequest
from ugc.v1.event_pb2 import EventBatch, EventRecord
from ugc.v1.ingest_service_pb2 import BatchProduceResponse
from ugc.v1.ingest_service_pb2_grpc import IngestServiceStub

from services.ingest.auth.authentication import Authenticator
from services.ingest.auth.claims import TokenRules
from services.ingest.auth.keys import read_secret
from tests.support.clients.calls import FakePublisher, failure, ingest_channel
from tests.support.inputs.events import documented, valid
from tests.support.inputs.tokens import OTHER_SECRET, SECRET, USER, signed

UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED.value[0]
PERMISSION_DENIED = grpc.StatusCode.PERMISSION_DENIED.value[0]
INVALID_ARGUMENT = grpc.StatusCode.INVALID_ARGUMENT.value[0]
OTHER_USER = "7d3a0c52-91de-4c1a-8f0b-2c4b5d6e7f80"
MINE = (("authorization", f"Bearer {signed(sub=USER.upper())}"),)
FORGED = (("authorization", f"Bearer {signed(OTHER_SECRET)}"),)


@contextlib.asynccontextmanager
async def authenticated(publisher: FakePublisher, *, subject_is_user: bool = True) -> AsyncIterator[grpc.aio.Channel]:
    """Serve with authentication enabled."""
    checks = Authenticator(read_secret(SECRET), TokenRules(subject_is_user=subject_is_user), cache_tokens_max=10)
    async with ingest_channel(publisher, checks) as channel:
        yield channel


def stub_of(channel: grpc.aio.Channel) -> IngestServiceStub:
    return IngestServiceStub(channel)  # type: ignore[no-untyped-call]  # generated


async def test_unauthenticated() -> None:
    """Without a valid token every call is UNAUTHENTICATED, even with an invalid event, and nothing is stored."""
    publisher = FakePublisher()
    async with authenticated(publisher) as channel:
        stub = stub_of(channel)
        for metadata in ((), FORGED):
            for event in (documented(), valid(movie_id="x")):
                assert (await failure(stub.Produce(event, metadata=metadata))).code == UNAUTHENTICATED
            batch = EventBatch(events=[documented()])
            assert (await failure(stub.BatchProduce(batch, metadata=metadata))).code == UNAUTHENTICATED
            assert (await failure(random_batch(channel, metadata))).code == UNAUTHENTICATED

    assert publisher.records == []


async def test_produce() -> None:
    """An event of the token's user is accepted in any case; another user's is PERMISSION_DENIED."""
    publisher = FakePublisher()
    async with authenticated(publisher) as channel:
        await stub_of(channel).Produce(valid(user_id=USER), metadata=MINE)
        rejected = await failure(stub_of(channel).Produce(valid(user_id=OTHER_USER), metadata=MINE))

    assert (rejected.code, rejected.message) == (PERMISSION_DENIED, "payload.user_id: must be the subject of the token")
    assert len(publisher.records) == 1


async def test_partly_denied_batch() -> None:
    """Each event of a batch has its own result: those of the token's user are stored."""
    publisher = FakePublisher()
    events = [valid(user_id=USER), valid(user_id=OTHER_USER), valid(movie_id="x"), valid(user_id=USER.upper())]
    async with authenticated(publisher) as channel:
        answer = await stub_of(channel).BatchProduce(EventBatch(events=events), metadata=MINE)

    results = [(rejected.index, rejected.error.code) for rejected in answer.rejected]
    assert (answer.accepted, results) == (2, [(1, PERMISSION_DENIED), (2, INVALID_ARGUMENT)])
    assert {EventRecord.FromString(record.value).event.payload.user_id.lower() for record in publisher.records} == {
        USER
    }


async def test_denied_batch() -> None:
    """A batch of another user's events is PERMISSION_DENIED; with invalid events both kinds are listed."""
    publisher, details = FakePublisher(), BadRequest()
    theirs = valid(user_id=OTHER_USER)
    async with authenticated(publisher) as channel:
        stub = stub_of(channel)
        rejected = await failure(stub.BatchProduce(EventBatch(events=[theirs, theirs]), metadata=MINE))
        mixed = await failure(stub.BatchProduce(EventBatch(events=[theirs, valid(event="")]), metadata=MINE))

    assert rejected.code == PERMISSION_DENIED
    assert mixed.code == INVALID_ARGUMENT
    assert mixed.details[0].Unpack(details)
    assert [(each.field, each.description) for each in details.field_violations] == [
        ("events[0].payload.user_id", "must be the subject of the token"),
        ("events[1].payload.event", "is required"),
    ]
    assert publisher.records == []


async def test_without_the_rule() -> None:
    """With the rule off a token may send the events of all users."""
    publisher = FakePublisher()
    async with authenticated(publisher, subject_is_user=False) as channel:
        events = [valid(user_id=USER), valid(user_id=OTHER_USER)]
        answer = await stub_of(channel).BatchProduce(EventBatch(events=events), metadata=MINE)

    assert answer.accepted == 2


async def test_random_events_of_the_subject() -> None:
    """The debug service creates events of the token's user."""
    publisher = FakePublisher()
    async with authenticated(publisher) as channel:
        answer = BatchProduceResponse.FromString(await random_batch(channel, MINE))

    assert answer.accepted == 3
    assert {record.key.decode() for record in publisher.records} == {USER}


def random_batch(
    channel: grpc.aio.Channel, metadata: tuple[tuple[str, str], ...]
) -> grpc.aio.UnaryUnaryCall[bytes, bytes]:
    """Request three random events."""
    call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
        "/ugc.v1.DebugService/RandomBatchProduce"
    )
    return call(RandomBatchProduceRequest(batch_count=3).SerializeToString(), metadata=metadata)
