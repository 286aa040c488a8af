"""Clients that open calls or connections and send nothing: others are not affected, and what they opened ends."""

from __future__ import annotations

import asyncio
import contextlib
import resource
from collections import Counter
from collections.abc import AsyncIterator
from typing import TypeAlias

import grpc
import pytest

from common.settings import parse_address
from services.ingest import server, standard_services
from services.ingest.server import SERVING
from tests.support.clients.calls import AcceptingPublisher
from tests.support.inputs.events import documented
from tests.support.processes.ingest_server import connection, health, ingest_server

PRODUCE = "/ugc.v1.IngestService/Produce"
BATCH_PRODUCE = "/ugc.v1.IngestService/BatchProduce"
RANDOM_BATCH_PRODUCE = "/ugc.v1.DebugService/RandomBatchProduce"
CHECK = "/grpc.health.v1.Health/Check"
WATCH = "/grpc.health.v1.Health/Watch"
REFLECT = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
METHODS = (PRODUCE, BATCH_PRODUCE, RANDOM_BATCH_PRODUCE, CHECK, WATCH, REFLECT)
SILENT_STREAMS = 1_100
IDLE_CONNECTIONS = 2_000
GOOD_CALLS = 40
SECONDS_MAX = 60.0
Stream: TypeAlias = grpc.aio.StreamStreamCall[bytes, bytes]
EVENT = documented().SerializeToString()


def silent(channel: grpc.aio.Channel, method: str) -> Stream:
    """Begin a call without sending its message."""
    multi: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(method)
    return multi()


@contextlib.asynccontextmanager
async def silent_streams(address: str, method: str, connections: int, streams: int) -> AsyncIterator[None]:
    """Open calls that never send their message."""
    async with contextlib.AsyncExitStack() as opened:
        channels = [await opened.enter_async_context(connection(address)) for _ in range(connections)]
        calls = [silent(channels[number % connections], method) for number in range(streams)]
        for channel in channels:
            await channel.channel_ready()
        yield
        for call in calls:
            call.cancel()


@contextlib.asynccontextmanager
async def idle_connections(address: str, count: int) -> AsyncIterator[None]:
    """Open connections, of which every second one begins the HTTP/2 handshake and none completes it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    host, port = parse_address(address)
    writers = []
    for number in range(count):
        _, writer = await asyncio.open_connection(host, port)
        if number % 2:
            writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0)))
        writers.append(writer)
    yield
    for writer in writers:
        writer.close()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def assert_served(address: str) -> None:
    """Make normal calls: each succeeds, and the health service reports SERVING."""
    async with connection(address) as channel:
        produce: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(PRODUCE)
        for _ in range(GOOD_CALLS):
            assert await produce(EVENT, timeout=SECONDS_MAX)
        assert await health(channel) == SERVING


@pytest.mark.parametrize("connections", [1, 11])
@pytest.mark.parametrize("method", METHODS)
async def test_silent_streams(method: str, connections: int) -> None:
    """1,100 calls without a message, of any method, on one connection or on several."""
    async with (
        ingest_server(AcceptingPublisher()) as address,
        silent_streams(address, method, connections, SILENT_STREAMS),
    ):
        await assert_served(address)


async def test_all_at_once() -> None:
    """Silent streams of each kind on many connections, beside 2,000 connections without a call."""
    async with contextlib.AsyncExitStack() as opened:
        address = await opened.enter_async_context(ingest_server(AcceptingPublisher()))
        for method in METHODS:
            await opened.enter_async_context(silent_streams(address, method, 11, SILENT_STREAMS // 2))
        await opened.enter_async_context(idle_connections(address, IDLE_CONNECTIONS))
        await assert_served(address)


@pytest.mark.parametrize("method", METHODS)
async def test_missing_message(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call whose message does not arrive ends with a status that names the reason."""
    monkeypatch.setattr(standard_services, "MESSAGE_SECONDS_MAX", 0.5)
    async with (
        ingest_server(AcceptingPublisher(), ingest_message_seconds_max=0.5) as address,
        connection(address) as channel,
    ):
        call = silent(channel, method)

        assert await asyncio.wait_for(call.code(), SECONDS_MAX) == grpc.StatusCode.DEADLINE_EXCEEDED
        assert "did not arrive in time" in await call.details()


@pytest.mark.parametrize("method", METHODS[:-1])
async def test_no_message(method: str) -> None:
    """A call that its client closes without a message is rejected at once; a reflection stream may be empty."""
    async with ingest_server(AcceptingPublisher()) as address, connection(address) as channel:
        call = silent(channel, method)
        await call.done_writing()

        assert await asyncio.wait_for(call.code(), SECONDS_MAX) == grpc.StatusCode.INVALID_ARGUMENT
        assert "is missing" in await call.details()


@pytest.mark.parametrize("method", METHODS)
async def test_garbage(method: str) -> None:
    """Bytes that are not a valid message are rejected with its name, and no handler fails."""
    async with ingest_server(AcceptingPublisher()) as address, connection(address) as channel:
        call = silent(channel, method)
        await call.write(b"\xff\xff\xff")
        code = await asyncio.wait_for(call.code(), SECONDS_MAX)

        # The debug service is disabled.
        assert code == (
            grpc.StatusCode.NOT_FOUND if method == RANDOM_BATCH_PRODUCE else grpc.StatusCode.INVALID_ARGUMENT
        )


@pytest.mark.parametrize("method", [WATCH, REFLECT])
async def test_long_streams_are_limited(method: str) -> None:
    """A connection has at most ten streams of a kind that may stay open; another connection has its own ten."""
    async with ingest_server(AcceptingPublisher()) as address, connection(address) as one, connection(address) as other:
        question = b"\x3a\x00" if method == REFLECT else b""

        async def open_stream(channel: grpc.aio.Channel) -> str:
            call = silent(channel, method)
            opened.append(call)
            try:
                await call.write(question)
                await asyncio.wait_for(call.read(), SECONDS_MAX)
            except grpc.aio.AioRpcError as error:
                return error.code().name
            return "open"

        opened: list[Stream] = []
        assert Counter([await open_stream(one) for _ in range(12)]) == {"open": 10, "RESOURCE_EXHAUSTED": 2}
        assert await open_stream(other) == "open"
        for call in opened[:10]:
            call.cancel()
        await assert_served(address)


async def test_connection_without_handshake(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that does not complete the HTTP/2 handshake is closed."""
    monkeypatch.setattr(server, "HANDSHAKE_MILLISECONDS_MAX", 500)
    async with ingest_server(AcceptingPublisher()) as address:
        host, port = parse_address(address)
        reader, writer = await asyncio.open_connection(host, port)
        await asyncio.wait_for(reader.read(), SECONDS_MAX)
        writer.close()
