"""RelayService: clients that do not read their answers, or read them slowly, and a process without memory."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from ugc.relay.v1.relay_service_pb2 import RelayRequest

from services.ingest.call import CREATED, Response
from services.ingest.limits.admission import Admission
from services.ingest.limits.memory_budget import MemoryBudget
from services.ingest.metrics import IngestMetrics
from services.ingest.relay import Intake, Method, RelayLimits, RelayService, limits
from services.ingest.relay.stream import RelayStream
from tests.support.clients.calls import SECONDS_MAX
from tests.support.clients.relay import call
from tests.support.inputs.events import documented

EVENT = documented().SerializeToString()
BAD = b"\xff"


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


async def reads_before_answers_are_read(stream: RelayStream, client: Connection) -> int:
    """Serve a client that reads its answers late; return how many of its frames were read before."""
    reading, writing = asyncio.create_task(stream.read()), asyncio.create_task(stream.write())
    for _ in range(1_000):
        await asyncio.sleep(0)
    waiting = client.reads
    client.room.set()
    await asyncio.wait_for(asyncio.gather(reading, writing), SECONDS_MAX)
    return waiting


async def test_answers_that_are_not_read() -> None:
    """While a client does not read its answers, its further frames are not read; then all are answered."""
    frame = RelayRequest(calls=[call(1, BAD, "/unknown")] * 500).SerializeToString()
    client = Connection([frame] * 100, is_reading=False)
    stream = RelayStream(client, "peer", {}, intake(), b"")
    waiting = await reads_before_answers_are_read(stream, client)

    assert waiting <= 4
    assert client.reads == 101


async def test_large_answers_that_are_not_read() -> None:
    """The bytes of answers that wait have a limit too, from which on no further frame is read."""
    frame = RelayRequest(calls=[call(1, BAD, "/large")]).SerializeToString()
    client = Connection([frame] * 100, is_reading=False)
    large = Response(b"x" * (limits.UNREAD_BYTES_MAX // 10), CREATED)
    method = Method(refuse, IngestMetrics().produce, lambda _message, _call, finish: finish(large))
    stream = RelayStream(client, "peer", {"/large": method}, intake(), b"")
    waiting = await reads_before_answers_are_read(stream, client)

    assert waiting <= 13
    assert client.reads == 101


async def test_large_answers_without_memory() -> None:
    """Without headroom in memory a stream ends whose client lets many bytes of answers wait; the others stay."""
    has_memory = [True]
    large = Response(b"x" * (limits.UNREAD_BYTES_WITHOUT_HEADROOM_MAX + 1), CREATED)
    methods = {"/large": Method(refuse, IngestMetrics().produce, lambda _message, _call, finish: finish(large))}
    service = RelayService(methods, intake(), RelayLimits(10, 10, 60.0), lambda: has_memory[0])
    frame = RelayRequest(calls=[call(1, BAD, "/large")]).SerializeToString()
    slow: Any = Connection([frame], is_reading=False)
    idle: Any = Idle()
    serving = [asyncio.create_task(service.relay(None, client)) for client in (slow, idle)]
    await asyncio.sleep(0.01)
    service.tick(0)
    await asyncio.sleep(0.01)
    assert not any(task.done() for task in serving)
    has_memory[0] = False
    service.tick(0)

    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(serving[0], SECONDS_MAX)
    assert not serving[1].done()
    service.stop()
    await asyncio.wait_for(serving[1], SECONDS_MAX)


async def test_client_that_never_reads() -> None:
    """A stream whose client does not accept a frame in time is ended, and its calls no longer count."""
    client: Any = Connection([RelayRequest(calls=[call(1, EVENT, "/method")]).SerializeToString()], is_reading=False)
    begins = intake()
    method = Method(refuse, IngestMetrics().produce, lambda _message, _call, _finish: None)
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
