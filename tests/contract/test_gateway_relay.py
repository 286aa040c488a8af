"""Calls that travel together in a stream end each as alone; without a stream they are unary calls."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from ugc.relay.v1.relay_service_pb2 import RelayResponse
from ugc.v1.event_pb2 import Event

from local.processes.ports import free_port
from tests.contract.endpoints import TRACE, WAIT_SECONDS_MAX, gateway, open_connection, post
from tests.contract.relayed_service import (
    DESCRIBED,
    ERRORS,
    FAILED,
    PATH,
    PRODUCE,
    Service,
    comparable,
    event,
    has_begun,
    is_relayed,
    relayed,
    until,
)
from tests.support.fakes.relay import FakeRelay, declaration, serving

LANES = pytest.mark.parametrize("lane", [True, False], ids=["on the lane", "in a task"])


@LANES
async def test_calls_in_a_frame_end_each_as_alone(lane: bool) -> None:
    """Bad, unauthorised, shed, dropped, late and failed calls beside good ones: the responses of unary calls.

    So are those of calls whose service sends metadata before the message.
    """
    names = [*ERRORS, "good", DESCRIBED, *ERRORS, "good"]
    async with relayed(gateway_lane=lane) as (url, relay, service):
        together = await asyncio.gather(*[post(f"{url}{PATH}", event(name)) for name in names])
        assert len(relay.begun) >= len(names)
        assert service.alone == []
    service, port = Service(), free_port()
    async with serving(None, service.handlers(), port), gateway(port, gateway_lane=lane) as url:
        alone = [await post(f"{url}{PATH}", event(name)) for name in names]
    assert [comparable(answer) for answer in together] == [comparable(answer) for answer in alone]
    assert {names[at] for at, answer in enumerate(together) if "Grpc-Metadata-X-Initial" in answer[2]} == {
        DESCRIBED, FAILED,
    }  # fmt: skip


@LANES
async def test_one_slow_call_holds_back_none(lane: bool) -> None:
    """While a call waits, others of the stream are answered; it is answered when it is ready."""
    async with relayed(gateway_lane=lane, gateway_timeout_seconds=WAIT_SECONDS_MAX) as (url, relay, service):
        slow = asyncio.create_task(post(f"{url}{PATH}", event("held")))
        await has_begun(relay, "held")
        others = [(await post(f"{url}{PATH}", event(f"other {number}")))[0] for number in range(20)]
        assert not slow.done()
        service.release.set()
        assert (others, (await slow)[0]) == ([201] * 20, 201)


@LANES
async def test_a_timed_out_call_is_cancelled(lane: bool) -> None:
    """A call beyond the gateway's limit is 504 as alone, and the service is informed; others go on."""
    async with relayed(gateway_lane=lane, gateway_timeout_seconds=0.2) as (url, relay, _service):
        status, body, _headers = await post(f"{url}{PATH}", event("held"))
        assert (status, body["code"], body["message"]) == (504, 4, "context deadline exceeded")
        held = next(call.id for call in relay.begun if Event.FromString(call.message).event_id == "held")

        async def is_cancelled() -> bool:
            return held in relay.cancelled

        await until(is_cancelled)
        assert (await post(f"{url}{PATH}", event("good")))[0] == 201


async def test_the_clients_timeout_is_forwarded() -> None:
    """Grpc-Timeout ends the call and is given to the service, a little shortened, as milliseconds."""
    async with relayed() as (url, relay, _service):
        status, body, _headers = await post(f"{url}{PATH}", event("held"), Grpc_Timeout="200m")
        assert (status, body["message"]) == (504, "context deadline exceeded")
        assert relay.begun[-1].timeout_milliseconds in range(190, 200)
        await post(f"{url}{PATH}", event("good"))
        assert relay.begun[-1].timeout_milliseconds == 0


@LANES
async def test_only_declared_metadata_is_sent(lane: bool) -> None:
    """A call carries the names that the service declares, and so does a unary call beside the stream."""
    headers = {"Authorization": "Bearer a", "Traceparent": TRACE, "Cookie": "a=b", "X_Request_Id": "mine"}
    async with relayed({"message_bytes_max": 50}, gateway_lane=lane) as (url, relay, service):
        await post(f"{url}{PATH}", event("good"), **headers)
        await post(f"{url}{PATH}", event("g" * 100), **headers)
        flat = [part.decode() for part in relay.begun[-1].metadata]
        pairs = dict(zip(flat[::2], flat[1::2], strict=True))
        assert pairs == {"authorization": "Bearer a", "traceparent": TRACE, "x-request-id": "mine"}
        message, unary = service.alone[-1]
        assert Event.FromString(message).event_id == "g" * 100
        assert {name: value for name, value in unary.items() if name != "user-agent"} == pairs


@LANES
async def test_a_new_declaration(lane: bool) -> None:
    """A stream's declaration is that of its own server: the next one may read other metadata."""
    async with relayed(gateway_lane=lane, gateway_reconnect_seconds_max=0.1) as (url, relay, _service):
        await post(f"{url}{PATH}", event("good"), Authorization="Bearer a", Cookie="a=b")
        assert list(relay.begun[-1].metadata)[:-1:2] == [b"x-request-id", b"authorization"]
        relay.declaration.metadata_names[:] = ["grpcgateway-cookie"]
        relay.end(None)

        async def is_replaced() -> bool:
            return relay.streams == 2

        await until(is_replaced)
        await until(lambda: is_relayed(url, relay))
        await post(f"{url}{PATH}", event("good"), Authorization="Bearer a", Cookie="a=b")
        assert list(relay.begun[-1].metadata) == [b"grpcgateway-cookie", b"a=b"]


@LANES
@pytest.mark.parametrize("status", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED])
async def test_a_stream_breaks(lane: bool, status: grpc.StatusCode) -> None:
    """Calls in progress are 503 and may be retried, as those of a broken connection; the next ones are answered."""
    async with relayed(gateway_lane=lane, gateway_timeout_seconds=WAIT_SECONDS_MAX) as (url, relay, _service):
        calls = [asyncio.create_task(post(f"{url}{PATH}", event("held"))) for _number in range(3)]
        await until_count(relay, 3)
        relay.end(status)
        for answer in await asyncio.gather(*calls):
            assert (answer[0], answer[1]["code"], answer[2]["Retry-After"]) == (503, 14, "1")
        assert (await post(f"{url}{PATH}", event("good")))[0] == 201
        await until(lambda: is_relayed(url, relay))
        assert relay.streams == 2


@LANES
async def test_a_stream_ends(lane: bool) -> None:
    """Calls that the service has not answered when it ends the stream without an error are made alone."""
    async with relayed(gateway_lane=lane, gateway_timeout_seconds=WAIT_SECONDS_MAX) as (url, relay, service):
        calls = [asyncio.create_task(post(f"{url}{PATH}", event("held"))) for _number in range(3)]
        await until_count(relay, 3)
        relay.end(None)

        async def are_alone() -> bool:
            return len(service.alone) == 3

        await until(are_alone)
        service.release.set()
        assert [answer[0] for answer in await asyncio.gather(*calls)] == [201] * 3


async def until_count(relay: FakeRelay, count: int) -> None:
    """Wait until the service has so many calls that wait."""

    async def is_reached() -> bool:
        return sum(Event.FromString(call.message).event_id == "held" for call in relay.begun) == count

    await until(is_reached)


async def test_a_call_that_was_not_processed_is_made_alone() -> None:
    """A call that the service gives back is made as a unary call."""
    async with relayed() as (url, _relay, service):
        assert (await post(f"{url}{PATH}", event("not processed")))[0] == 201
        assert [Event.FromString(message).event_id for message, _metadata in service.alone] == ["not processed"]


async def test_a_draining_stream_gets_no_more_calls() -> None:
    """After `draining` calls are made alone until the next stream is open; those in progress are answered."""
    async with relayed(gateway_timeout_seconds=WAIT_SECONDS_MAX) as (url, relay, service):
        held = asyncio.create_task(post(f"{url}{PATH}", event("held")))
        await has_begun(relay, "held")
        await relay.send(RelayResponse(draining=True))

        async def is_replaced() -> bool:
            return relay.streams == 2

        await until(is_replaced)
        await until(lambda: is_relayed(url, relay))
        assert not held.done()
        service.release.set()
        assert (await held)[0] == 201


@LANES
@pytest.mark.parametrize("limits", [{"calls_max": 1}, {"message_bytes_max": 1}, {"frame_bytes_max": 20}])
async def test_limits_of_a_stream(lane: bool, limits: dict[str, int]) -> None:
    """What a stream cannot hold is called alone; no frame is larger than the service allows."""
    service, port = Service(), free_port()
    relay = FakeRelay(service.relayed, declaration(PRODUCE, **limits))
    changes: dict[str, Any] = {"gateway_lane": lane, "gateway_timeout_seconds": WAIT_SECONDS_MAX, "gateway_relay": True}
    async with serving(relay, service.handlers(), port), gateway(port, **changes) as url:
        await until_open(relay)
        held = [asyncio.create_task(post(f"{url}{PATH}", event("held"))) for _number in range(8)]

        async def all_begun() -> bool:
            return len(relay.begun) + len(service.alone) == 8

        await until(all_begun)
        service.release.set()
        assert [answer[0] for answer in await asyncio.gather(*held)] == [201] * 8
        assert len(relay.begun) <= limits.get("calls_max", 0)
        assert all(frame.ByteSize() <= relay.declaration.frame_bytes_max for frame in relay.frames)


async def until_open(relay: FakeRelay) -> None:
    """Wait until the first stream is open."""

    async def is_open() -> bool:
        return relay.streams == 1

    await until(is_open)


async def test_what_waits_travels_together() -> None:
    """Calls that arrive while a frame is written go into the next one, as far as it can hold them."""
    async with relayed(limits={"frame_bytes_max": 1_000}) as (url, relay, _service):
        relay.frames.clear()
        answers = await asyncio.gather(*[post(f"{url}{PATH}", event(f"{number:0100}")) for number in range(100)])
        assert [answer[0] for answer in answers] == [201] * 100
        assert all(frame.ByteSize() <= 1_000 for frame in relay.frames)


async def test_the_order_of_a_connection() -> None:
    """Responses to requests that a client sends at once come in their order."""
    async with relayed() as (url, _relay, _service):
        reader, writer = await open_connection(url)
        for number in range(20):
            body = event(f"number {number}")
            writer.write(b"POST /api/v1/produce HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        async with asyncio.timeout(WAIT_SECONDS_MAX):
            for number in range(20):
                await reader.readuntil(b"\r\n\r\n")
                assert await reader.readuntil(b"}") == b'{"eventId":"number %d"}' % number
        writer.close()


async def test_a_service_without_a_relay_is_called_alone() -> None:
    """A service that does not offer the stream is asked once for each connection, and calls are unary."""
    service, port = Service(), free_port()
    async with serving(None, service.handlers(), port), gateway(port, gateway_relay=True) as url:
        for _number in range(5):
            assert (await post(f"{url}{PATH}", event("good")))[0] == 201
        assert len(service.alone) == 5
