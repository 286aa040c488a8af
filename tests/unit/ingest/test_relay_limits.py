"""RelayService: malformed frames, and calls and streams beyond the limits."""

from __future__ import annotations

import asyncio
import contextlib

import grpc
import pytest
from google.rpc.code_pb2 import INVALID_ARGUMENT, OK, RESOURCE_EXHAUSTED
from ugc.relay.v1.relay_service_pb2 import Call, RelayRequest

from services.ingest.relay import limits
from tests.support.clients.calls import SECONDS_MAX, BlockingPublisher, FakePublisher
from tests.support.clients.relay import RELAY, call, relay
from tests.support.inputs.events import documented
from tests.support.processes.ingest_server import connection, ingest_server

EVENT = documented().SerializeToString()
BAD = b"\xff"


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (b"\xff\xff", grpc.StatusCode.INVALID_ARGUMENT),
        (b"\x0a\x05a", grpc.StatusCode.INVALID_ARGUMENT),
        (RelayRequest(calls=[Call(method="x")]).SerializeToString(), grpc.StatusCode.INVALID_ARGUMENT),
        (RelayRequest(calls=[call(2, EVENT)]).SerializeToString(), grpc.StatusCode.INVALID_ARGUMENT),
        (b"\x0a\x00" * (limits.CALLS_MAX + 1), grpc.StatusCode.RESOURCE_EXHAUSTED),
        (b"\x0a\x00" * (limits.FRAME_BYTES_MAX // 2), grpc.StatusCode.RESOURCE_EXHAUSTED),
        (
            RelayRequest(cancelled=[1] * (limits.CANCELLED_MAX + 1)).SerializeToString(),
            grpc.StatusCode.RESOURCE_EXHAUSTED,
        ),
        (b"\x0a" + b"\x00" * limits.FRAME_BYTES_MAX, grpc.StatusCode.RESOURCE_EXHAUSTED),
    ],
    ids=["garbage", "truncated", "no id", "id in use", "many calls", "empty calls", "many cancelled", "large"],
)
async def test_bad_frame(frame: bytes, code: grpc.StatusCode) -> None:
    """A frame that breaks the protocol ends its stream with a status that names the reason; the server goes on."""
    publisher = BlockingPublisher()
    async with ingest_server(publisher) as address, connection(address) as channel:
        async with relay(channel) as client:
            await client.send(call(2, EVENT))
            await publisher.began(1)
            await client.stream.write(frame)
            assert await client.code() == code
            assert await client.stream.details()
        publisher.free.set()
        async with relay(channel) as client:
            await client.send(call(1, EVENT))
            assert (await client.answers(1))[1].status_code == OK


async def test_refused_calls() -> None:
    """A call that is too large, or has too much metadata, is rejected by itself; an empty frame is nothing."""
    much = [b"x-request-id", b"a"] * (limits.METADATA_ENTRIES_MAX // 2 + 1)
    large = [b"x-request-id", b"a" * limits.METADATA_BYTES_MAX]
    method = call(1, EVENT).method
    async with ingest_server(FakePublisher()) as address, connection(address) as channel, relay(channel) as client:
        await client.send()
        await client.send(
            call(1, b"x" * (limits.MESSAGE_BYTES_MAX + 1)),
            Call(id=2, method=method, message=EVENT, metadata=much),
            Call(id=3, method=method, message=EVENT, metadata=large),
            Call(id=4, method=method, message=EVENT, metadata=[b"x-request-id"]),
            Call(id=5, method=method, message=EVENT, metadata=[b"x-request-id", b"\xff"]),
        )
        answers = await client.answers(5)

    codes = {number: answer.status_code for number, answer in answers.items()}
    assert codes == dict.fromkeys((1, 2, 3), RESOURCE_EXHAUSTED) | {4: OK, 5: OK}


async def test_calls_of_a_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls beyond the limit of a stream are rejected, until others have ended."""
    monkeypatch.setattr(limits, "CALLS_MAX", 3)
    publisher = BlockingPublisher()
    async with ingest_server(publisher) as address, connection(address) as channel, relay(channel) as client:
        await client.send(call(1, EVENT), call(2, EVENT), call(3, EVENT))
        await client.send(call(4, EVENT))
        assert (await client.answers(1))[4].status_code == RESOURCE_EXHAUSTED
        await publisher.began(3)
        publisher.free.set()
        await client.answers(3)
        await client.send(call(5, EVENT))
        assert (await client.answers(1))[5].status_code == OK


async def test_cancelled_calls_make_room_in_the_same_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    """A frame that cancels all calls of a full stream can have as many new ones, also with the same ids."""
    monkeypatch.setattr(limits, "CALLS_MAX", 3)
    publisher = BlockingPublisher()
    async with ingest_server(publisher) as address, connection(address) as channel, relay(channel) as client:
        await client.send(call(1, EVENT), call(2, EVENT), call(3, EVENT))
        await publisher.began(3)
        await client.send(call(3, EVENT), call(4, EVENT), call(5, EVENT), cancelled=[1, 2, 3])
        await publisher.began(3)
        publisher.free.set()
        answers = await client.answers(3)

    assert {number: answer.status_code for number, answer in answers.items()} == {3: OK, 4: OK, 5: OK}


async def test_streams_are_limited() -> None:
    """Streams are limited in all and on a connection; a rejected stream says so, and an ended one makes room."""
    async with ingest_server(FakePublisher(), ingest_relay_streams_max=1) as address, connection(address) as channel:
        async with relay(channel):
            rejected = channel.stream_stream(RELAY)()  # type: ignore[var-annotated]  # of bytes
            assert await rejected.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        async with asyncio.timeout(SECONDS_MAX):
            while not await opens(channel):  # until the server has noticed the end
                pass


async def opens(channel: grpc.aio.Channel) -> bool:
    """Return whether a stream can be opened."""
    with contextlib.suppress(grpc.aio.AioRpcError):
        async with relay(channel):
            return True
    return False


async def test_bad_metadata_of_a_call_is_the_call_only() -> None:
    """INVALID_ARGUMENT of one call leaves the others of its frame alone."""
    async with ingest_server(FakePublisher()) as address, connection(address) as channel, relay(channel) as client:
        await client.send(*[call(number, EVENT if number % 2 else BAD) for number in range(1, 101)])
        answers = await client.answers(100)

    assert {answer.status_code for number, answer in answers.items() if number % 2} == {OK}
    assert {answer.status_code for number, answer in answers.items() if not number % 2} == {INVALID_ARGUMENT}
