"""RelayService: how streams end, by either side, at their age and when the process stops, without losing a call."""

from __future__ import annotations

import asyncio
import contextlib

import grpc
import pytest
from google.rpc.code_pb2 import OK, UNAVAILABLE

from services.ingest.relay import limits
from tests.support.clients.calls import SECONDS_MAX, BlockingPublisher, FakePublisher
from tests.support.clients.relay import RELAY, RelayClient, alone, call, relay
from tests.support.inputs.events import documented
from tests.support.processes.ingest_server import connection, ingest_server

EVENT = documented().SerializeToString()


async def drained(client: RelayClient) -> None:
    """Wait for the announcement of the stream's end."""
    while not client.is_draining:
        assert await client.response() is not None


async def test_client_closes_its_side() -> None:
    """The calls before are answered, and the stream ends with OK."""
    publisher = BlockingPublisher()
    async with ingest_server(publisher) as address, connection(address) as channel, relay(channel) as client:
        await client.send(call(1, EVENT))
        await client.stream.done_writing()
        await publisher.began(1)
        publisher.free.set()
        assert (await client.answers(1))[1].status_code == OK
        assert await client.code() == grpc.StatusCode.OK


async def test_server_stops() -> None:
    """At the stop accepted calls are answered, later ones are not processed, and the stream ends with OK."""
    publisher = BlockingPublisher()
    async with contextlib.AsyncExitStack() as outer:
        server = await outer.enter_async_context(contextlib.AsyncExitStack())
        address = await server.enter_async_context(ingest_server(publisher, ingest_stop_seconds_max=SECONDS_MAX))
        channel = await outer.enter_async_context(connection(address))
        client = await outer.enter_async_context(relay(channel))
        await client.send(call(1, EVENT))
        await publisher.began(1)
        stopping = asyncio.create_task(server.aclose())
        await drained(client)
        await client.send(call(2, EVENT))
        refused = (await client.answers(1))[2]
        assert not stopping.done()
        publisher.free.set()
        assert (await client.answers(1))[1].status_code == OK
        assert await client.code() == grpc.StatusCode.OK
        await asyncio.wait_for(stopping, SECONDS_MAX)

    assert (refused.status_code, refused.not_processed) == (UNAVAILABLE, True)
    assert len(publisher.records) == 1


async def test_idle_stream_does_not_delay_the_stop() -> None:
    """A stream without calls ends when the server stops, although its client does not close its side."""
    async with contextlib.AsyncExitStack() as outer:
        server = await outer.enter_async_context(contextlib.AsyncExitStack())
        address = await server.enter_async_context(ingest_server(FakePublisher(), ingest_stop_seconds_max=300))
        channel = await outer.enter_async_context(connection(address))
        client = await outer.enter_async_context(relay(channel))
        await asyncio.wait_for(server.aclose(), SECONDS_MAX)
        assert await client.code() == grpc.StatusCode.OK


async def test_frame_that_is_written_at_the_end() -> None:
    """A call that the client was sending when it received the end is given back, and the stream ends with OK."""
    async with contextlib.AsyncExitStack() as outer:
        server = await outer.enter_async_context(contextlib.AsyncExitStack())
        address = await server.enter_async_context(ingest_server(FakePublisher(), ingest_stop_seconds_max=300))
        channel = await outer.enter_async_context(connection(address))
        client = await outer.enter_async_context(relay(channel))
        stopping = asyncio.create_task(server.aclose())
        await drained(client)
        await client.send(call(1, EVENT))
        assert (await client.answers(1))[1].not_processed
        await client.stream.done_writing()
        assert await client.code() == grpc.StatusCode.OK
        await asyncio.wait_for(stopping, SECONDS_MAX)


async def test_age(monkeypatch: pytest.MonkeyPatch) -> None:
    """An old stream ends after its calls; the client opens another one, also on the same connection."""
    monkeypatch.setattr(limits, "STREAM_TICK_SECONDS", 0.01)
    publisher = BlockingPublisher()
    server = ingest_server(publisher, ingest_connection_grace_seconds=0.1)
    async with server as address, connection(address) as channel, relay(channel) as client:
        await client.send(call(1, EVENT))
        await drained(client)
        publisher.free.set()
        assert (await client.answers(1))[1].status_code == OK
        assert await client.code() == grpc.StatusCode.OK
        async with relay(channel) as another:
            await another.send(call(1, EVENT))
            assert (await another.answers(1))[1].status_code == OK


async def test_young_streams_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream does not end before its age."""
    monkeypatch.setattr(limits, "STREAM_TICK_SECONDS", 0.001)
    async with ingest_server(FakePublisher()) as address, connection(address) as channel, relay(channel) as client:
        for number in range(1, 50):
            await client.send(call(number, EVENT))
            await client.answers(1)
        assert not client.is_draining


async def test_relay_can_be_disabled() -> None:
    """With UGC_INGEST_RELAY=false a stream is UNIMPLEMENTED, and calls alone work."""
    async with ingest_server(FakePublisher(), ingest_relay=False) as address, connection(address) as channel:
        stream = channel.stream_stream(RELAY)()  # type: ignore[var-annotated]  # of bytes
        assert await stream.code() == grpc.StatusCode.UNIMPLEMENTED
        assert (await alone(channel, call(1, EVENT))).code == OK
