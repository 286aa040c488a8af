"""RelayService: malformed frames, calls and streams beyond the limits, and clients that do not read their answers."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import grpc
import pytest
from google.rpc.code_pb2 import INVALID_ARGUMENT, OK, RESOURCE_EXHAUSTED
from ugc.relay.v1.relay_service_pb2 import Call, RelayRequest

from services.ingest.limits.admission import Admission
from services.ingest.limits.memory_budget import MemoryBudget
from services.ingest.relay import Intake, Method, RelayLimits, RelayService, limits
from services.ingest.relay.stream import RelayStream
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


class Connection:
    """A client that sends frames without end, and reads answers only when the test lets it."""

    def __init__(self, frames: list[bytes], *, is_reading: bool) -> None:
        self.frames = frames
        self.reads = 0
        self.written: list[bytes] = []
        self.room = asyncio.Event()
        if is_reading:
            self.room.set()

    def peer(self) -> str:
        return "peer"

    async def read(self) -> object:
        self.reads += 1
        await asyncio.sleep(0)
        return self.frames.pop(0) if self.frames else grpc.aio.EOF

    async def write(self, message: bytes) -> None:
        await self.room.wait()
        self.written.append(message)


def intake() -> Intake:
    return Intake(Admission(10_000, 1_000_000), MemoryBudget(1_000_000), 1.0)


async def refuse(_message: bytes, _call: object) -> Any:
    raise AssertionError("not called")


async def test_answers_that_are_not_read() -> None:
    """While a client does not read its answers, its further frames are not read; then all are answered."""
    frame = RelayRequest(calls=[call(1, BAD, "/unknown")] * 500).SerializeToString()
    client = Connection([frame] * 100, is_reading=False)
    stream = RelayStream(client, "peer", {}, intake(), b"")
    reading, writing = asyncio.create_task(stream.read()), asyncio.create_task(stream.write())
    for _ in range(1_000):
        await asyncio.sleep(0)
    waiting = client.reads
    client.room.set()
    await asyncio.wait_for(asyncio.gather(reading, writing), SECONDS_MAX)

    assert waiting <= 4
    assert client.reads == 101


async def test_client_that_never_reads() -> None:
    """A stream whose client does not accept a frame in time is ended, and its calls no longer count."""
    client: Any = Connection([RelayRequest(calls=[call(1, EVENT, "/method")]).SerializeToString()], is_reading=False)
    begins = intake()
    method = Method(refuse, lambda _message, _call, _finish: None)
    service = RelayService({"/method": method}, begins, RelayLimits(10, 10, 60.0))
    serving = asyncio.create_task(service.relay(None, client))
    for _ in range(20):
        await asyncio.sleep(0)
    now = asyncio.get_running_loop().time()
    service.tick(now)
    assert not serving.done()
    assert begins.admission.in_flight.requests == 1
    service.tick(now + limits.WRITE_SECONDS_MAX + 1)

    with pytest.raises(asyncio.CancelledError):
        await serving
    assert begins.admission.in_flight == (0, 0)


async def test_streams_without_memory() -> None:
    """Without headroom in memory the latest streams end, down to the number that the limits guarantee."""
    clients: list[Any] = [Idle() for _ in range(4)]
    has_memory = [True]
    service = RelayService({}, intake(), RelayLimits(10, 1, 60.0), lambda: has_memory[0])
    serving = [asyncio.create_task(service.relay(None, client)) for client in clients]
    await asyncio.sleep(0.01)
    service.tick(0)
    await asyncio.sleep(0.01)
    assert not any(task.done() for task in serving)
    has_memory[0] = False
    service.tick(0)
    await asyncio.wait_for(asyncio.gather(*serving[1:]), SECONDS_MAX)

    assert not serving[0].done()
    service.stop()
    await asyncio.wait_for(serving[0], SECONDS_MAX)


class Idle(Connection):
    """A client that sends nothing."""

    def __init__(self) -> None:
        super().__init__([], is_reading=True)

    async def read(self) -> object:
        await asyncio.Event().wait()
        return grpc.aio.EOF


async def test_bad_metadata_of_a_call_is_the_call_only() -> None:
    """INVALID_ARGUMENT of one call leaves the others of its frame alone."""
    async with ingest_server(FakePublisher()) as address, connection(address) as channel, relay(channel) as client:
        await client.send(*[call(number, EVENT if number % 2 else BAD) for number in range(1, 101)])
        answers = await client.answers(100)

    assert {answer.status_code for number, answer in answers.items() if number % 2} == {OK}
    assert {answer.status_code for number, answer in answers.items() if not number % 2} == {INVALID_ARGUMENT}
