"""More calls, bytes or time than ingest allows: a rejected call has a retry delay, and no call is cut off."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from grpc_status import rpc_status
from ugc.v1.event_pb2 import EventBatch

from tests.support.clients.calls import AcceptingPublisher, BlockingPublisher
from tests.support.inputs.events import documented, valid
from tests.support.processes.ingest_server import connection, ingest_server

PRODUCE = "/ugc.v1.IngestService/Produce"
BATCH_PRODUCE = "/ugc.v1.IngestService/BatchProduce"
SECONDS_MAX = 60.0
CALLS = 3_000
IN_FLIGHT_MIN = 500
EVENT = documented().SerializeToString()
LARGE = EventBatch(events=[valid(event_data="x" * 30_000)] * 10).SerializeToString()
RETRYABLE = {grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE}


def begin(channel: grpc.aio.Channel, method: str, request: bytes) -> grpc.aio.UnaryUnaryCall[bytes, bytes]:
    """Begin a call."""
    multi: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method)
    return multi(request, timeout=SECONDS_MAX)


async def assert_retryable(call: grpc.aio.UnaryUnaryCall[bytes, bytes]) -> None:
    """Assert that a call was rejected with a retryable code and a delay."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert caught.value.code() in RETRYABLE
    status = rpc_status.from_call(caught.value)  # type: ignore[arg-type]  # it has all that is read of a Call
    retry = RetryInfo()
    assert status is not None
    assert status.details[0].Unpack(retry)
    assert retry.retry_delay.ToNanoseconds() > 0


async def outcome(call: grpc.aio.UnaryUnaryCall[bytes, bytes]) -> str:
    """Return OK or the code of the rejection, whose delay is checked."""
    code = await call.code()
    if code != grpc.StatusCode.OK:
        await assert_retryable(call)
    return code.name


@pytest.mark.parametrize("channels", [1, 3, 8])
async def test_burst(channels: int) -> None:
    """3,000 calls at once: each succeeds or is rejected with a delay, none is CANCELLED."""
    publisher = BlockingPublisher()
    async with ingest_server(publisher) as address, contextlib.AsyncExitStack() as opened:
        connections = [await opened.enter_async_context(connection(address)) for _ in range(channels)]
        calls = [begin(connections[number % channels], PRODUCE, EVENT) for number in range(CALLS)]
        await publisher.began(IN_FLIGHT_MIN)
        publisher.free.set()
        outcomes = Counter([await outcome(call) for call in calls])

    assert set(outcomes) <= {"OK", "RESOURCE_EXHAUSTED", "UNAVAILABLE"}
    assert outcomes["OK"] >= IN_FLIGHT_MIN


async def test_requests_max() -> None:
    """A request above the limit is rejected with the delay of the settings; later requests are admitted again."""
    publisher = BlockingPublisher()
    async with ingest_server(publisher, ingest_requests_max=10) as address, contextlib.AsyncExitStack() as opened:
        connections = [await opened.enter_async_context(connection(address)) for _ in range(10)]
        calls = [begin(each, PRODUCE, EVENT) for each in connections]
        await publisher.began(len(calls))
        await assert_retryable(begin(connections[0], PRODUCE, EVENT))
        await assert_retryable(begin(connections[1], BATCH_PRODUCE, LARGE))
        publisher.free.set()
        for call in calls:
            await call

        assert await begin(connections[0], PRODUCE, EVENT)


async def test_bytes_in_flight_max() -> None:
    """Requests are rejected for the sum of their bytes before they are parsed; smaller ones are still admitted."""
    publisher = BlockingPublisher()
    budget = 3 * len(LARGE) + len(LARGE) // 2
    limits: dict[str, Any] = {"ingest_bytes_in_flight_max": budget, "ingest_request_bytes_max": len(LARGE) * 2}
    async with ingest_server(publisher, **limits) as address, contextlib.AsyncExitStack() as opened:
        connections = [await opened.enter_async_context(connection(address)) for _ in range(4)]
        calls = [begin(each, BATCH_PRODUCE, LARGE) for each in connections[:3]]
        await publisher.began(len(calls))
        await assert_retryable(begin(connections[3], BATCH_PRODUCE, LARGE))
        # Not parsed: garbage of that size is rejected in the same way.
        await assert_retryable(begin(connections[3], BATCH_PRODUCE, b"\xff" * len(LARGE)))
        small = begin(connections[3], PRODUCE, EVENT)
        publisher.free.set()
        for call in (*calls, small):
            await call

        assert await begin(connections[3], BATCH_PRODUCE, LARGE)


async def test_one_connection_leaves_room_for_others() -> None:
    """A connection that begins as many calls as it can leaves room for another, in requests and in bytes."""
    publisher = BlockingPublisher()
    async with (
        ingest_server(publisher, ingest_requests_max=100) as address,
        connection(address) as greedy,
        connection(address) as modest,
    ):
        # 72 are admitted, the others rejected.
        calls = [begin(greedy, PRODUCE, EVENT) for _ in range(200)]
        await publisher.began(72)
        other = begin(modest, PRODUCE, EVENT)
        await publisher.began(1)
        publisher.free.set()

        assert await other
        assert {await outcome(call) for call in calls} == {"OK", "RESOURCE_EXHAUSTED"}


async def test_rejected_before_the_message() -> None:
    """A call that cannot be admitted is rejected before its message is read into memory."""
    publisher = BlockingPublisher()
    async with ingest_server(publisher, ingest_requests_max=1) as address, connection(address) as channel:
        held = begin(channel, PRODUCE, EVENT)
        await publisher.began(1)
        multi: grpc.aio.StreamUnaryMultiCallable[bytes, bytes] = channel.stream_unary(BATCH_PRODUCE)
        silent = multi()

        assert await asyncio.wait_for(silent.code(), SECONDS_MAX) == grpc.StatusCode.RESOURCE_EXHAUSTED
        publisher.free.set()
        assert await held


async def test_age_of_connections() -> None:
    """Connections are closed at their maximum age, and a client that keeps calling is not affected."""
    changes = 0
    async with (
        ingest_server(AcceptingPublisher(), ingest_connection_age_seconds_max=0.3) as address,
        connection(address) as channel,
    ):
        await channel.channel_ready()

        async def count_changes() -> None:
            nonlocal changes
            while True:
                await channel.wait_for_state_change(grpc.ChannelConnectivity.READY)
                changes += 1
                await channel.channel_ready()

        counting = asyncio.create_task(count_changes())
        while changes < 4:
            await asyncio.gather(*(begin(channel, PRODUCE, EVENT) for _ in range(20)))
        counting.cancel()


async def test_idle_connection_is_closed() -> None:
    """A connection without a call is closed after a time; its client reconnects for the next call."""
    async with (
        ingest_server(AcceptingPublisher(), ingest_connection_idle_seconds_max=0.3) as address,
        connection(address) as channel,
    ):
        assert await begin(channel, PRODUCE, EVENT)
        await asyncio.wait_for(channel.wait_for_state_change(grpc.ChannelConnectivity.READY), SECONDS_MAX)
        assert await begin(channel, PRODUCE, EVENT)


async def test_connections_max() -> None:
    """A connection above the limit is closed, the open ones are not."""
    async with ingest_server(AcceptingPublisher(), ingest_connections_max=1) as address, connection(address) as one:
        # The connection of the health check may not be closed yet.
        await asyncio.wait_for(one.channel_ready(), SECONDS_MAX)
        assert await begin(one, PRODUCE, EVENT)
        async with connection(address) as two:
            assert await begin(two, PRODUCE, EVENT).code() == grpc.StatusCode.UNAVAILABLE
        assert await begin(one, PRODUCE, EVENT)
