"""A gateway that stops lets requests in progress finish, on the fast lane and in a task, and then closes at once."""

from __future__ import annotations

import asyncio

import pytest

from tests.contract.endpoints import WAIT_SECONDS_MAX, open_connection
from tests.contract.relayed_service import event, relayed, until

LANES = pytest.mark.parametrize("lane", [True, False], ids=["on the lane", "in a task"])


def request(name: str) -> bytes:
    """Return a request; the name decides how the service answers."""
    body = event(name)
    return b"POST /api/v1/produce HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body


@LANES
async def test_requests_in_progress_finish(lane: bool) -> None:
    """A request in progress is answered; the stop ends with it, though the client keeps its connection."""
    async with asyncio.timeout(WAIT_SECONDS_MAX):
        async with relayed(
            gateway_lane=lane, gateway_timeout_seconds=WAIT_SECONDS_MAX, gateway_stop_seconds_max=2 * WAIT_SECONDS_MAX
        ) as (url, relay, service):
            reader, writer = await open_connection(url)
            writer.write(request("held"))

            async def has_begun() -> bool:
                return any(b"held" in call.message for call in relay.begun)

            await until(has_begun)
            asyncio.get_running_loop().call_later(0.1, service.release.set)
        assert (await reader.read()).startswith(b"HTTP/1.1 201 ")
        writer.close()


@LANES
async def test_idle_connections_do_not_delay_the_stop(lane: bool) -> None:
    """A connection whose request was answered is closed when the gateway stops."""
    async with asyncio.timeout(WAIT_SECONDS_MAX):
        async with relayed(gateway_lane=lane, gateway_stop_seconds_max=2 * WAIT_SECONDS_MAX) as (url, _relay, _service):
            reader, writer = await open_connection(url)
            writer.write(request("good"))
            assert (await reader.readline()).startswith(b"HTTP/1.1 201 ")
        await reader.read()
        writer.close()
