"""An ordinary request that arrives in pieces is gathered for the fast lane, and answered as on the usual path."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from gateway.decoding import LARGE_BODY_BYTES, ORDINARY_BODY_BYTES_MAX
from gateway.http import server
from local.processes.ports import free_port
from tests.contract.endpoints import WAIT_SECONDS_MAX, gateway, ingest, open_connection
from tests.contract.test_gateway_lane import both, counting, response_from
from tests.support.inputs.http_heads import BODY, CURL, request_of

BODY_BYTES_MAX = 2 * ORDINARY_BODY_BYTES_MAX
EVENTS = LARGE_BODY_BYTES // len(BODY) + 1
MANY = b"[" + b",".join([BODY] * EVENTS) + b"]"
BEYOND = b"[" + b",".join([BODY] * (ORDINARY_BODY_BYTES_MAX // len(BODY) + 1)) + b"]"
LONG = 600.0


def batch(body: bytes) -> bytes:
    """Return the request of a batch."""
    return b"POST /api/v1/batch_produce HTTP/1.1\r\n" + CURL % len(body) + b"\r\n\r\n" + body


async def in_two(url: str, request: bytes, first_bytes: int, offers: int) -> tuple[bytes, list[bool]]:
    """Send a request in two pieces, the second when the lane was offered a request so many times.

    Return the response, and whether the lane took what it was offered.
    """
    reader, writer = await open_connection(url)
    async with asyncio.timeout(WAIT_SECONDS_MAX):
        writer.write(request_of(CURL))
        await response_from(reader)
        with counting() as taken:
            writer.write(request[:first_bytes])
            await until_offered(taken, offers)
            writer.write(request[first_bytes:])
            response = await response_from(reader)
    writer.close()
    return response, taken


async def until_offered(taken: list[bool], offers: int) -> None:
    """Wait until the lane was offered a request so many times."""
    async with asyncio.timeout(WAIT_SECONDS_MAX):
        while len(taken) < offers:  # noqa: ASYNC110 -- the gateway has no event for it
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("first_bytes", [170, 20_000])
@pytest.mark.parametrize(
    ("body", "is_taken"),
    [
        (MANY, True),
        (MANY.replace(BODY, b'{"event_id": null}', 1), False),
        (MANY[:-1], False),
        (b"[" + b"{}," * 60_000 + b"{}]", False),
        (MANY[: LARGE_BODY_BYTES // 2].rpartition(b",")[0] + b"]", True),
        (MANY[: LARGE_BODY_BYTES // 2], True),
    ],
)
async def test_two_pieces(body: bytes, is_taken: bool, first_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gathered request is answered as on the usual path; large bodies that are not ordinary are left to it."""
    monkeypatch.setattr(server, "GATHER_SECONDS", LONG)
    port = free_port()
    async with ingest(port), both(port, gateway_body_bytes_max=BODY_BYTES_MAX) as (mine, usual):
        answer, taken = await in_two(mine, batch(body), first_bytes, 1)
        expected, _none = await in_two(usual, batch(body), first_bytes, 0)

    assert (answer, taken) == (expected, [False, is_taken])


@pytest.mark.parametrize(("limit", "value", "offers"), [("GATHER_SECONDS", 0.0, 2), ("GATHERED_BYTES_MAX", 1_000, 1)])
async def test_beyond_a_limit(limit: str, value: float, offers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What arrives too late, or would be too much together, is parsed in the usual way."""
    monkeypatch.setattr(server, limit, value)
    port = free_port()
    async with ingest(port), both(port, gateway_body_bytes_max=BODY_BYTES_MAX) as (mine, usual):
        answer, taken = await in_two(mine, batch(MANY), 1_000, offers)
        expected, _none = await in_two(usual, batch(MANY), 1_000, 0)

    assert (answer, taken) == (expected, [False] * offers)


async def test_a_body_beyond_the_lane(monkeypatch: pytest.MonkeyPatch) -> None:
    """A larger body is not gathered."""
    monkeypatch.setattr(server, "GATHER_SECONDS", LONG)
    port = free_port()
    async with ingest(port), both(port, gateway_body_bytes_max=BODY_BYTES_MAX) as (mine, usual):
        answer, taken = await in_two(mine, batch(BEYOND), 1_000, 1)
        expected, _none = await in_two(usual, batch(BEYOND), 1_000, 0)

    assert (answer, taken) == (expected, [False])


async def test_the_client_ends_in_the_middle(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that ends its side while its request is gathered gets no response, as on the usual path."""
    monkeypatch.setattr(server, "GATHER_SECONDS", LONG)
    port = free_port()
    async with ingest(port), gateway(port, gateway_body_bytes_max=BODY_BYTES_MAX) as url:
        reader, writer = await open_connection(url)
        writer.write(request_of(CURL))
        await asyncio.wait_for(response_from(reader), WAIT_SECONDS_MAX)
        with counting() as taken:
            writer.write(batch(MANY)[:1_000])
            await until_offered(taken, 1)
            writer.write_eof()
            assert await asyncio.wait_for(reader.read(), WAIT_SECONDS_MAX) == b""
        writer.close()

    assert taken == [False, False]


@pytest.mark.parametrize("lane", [True, False])
async def test_the_gateway_stops_in_the_middle(monkeypatch: pytest.MonkeyPatch, *, lane: bool) -> None:
    """A request that is gathered when the gateway stops is answered as on the usual path: its rest is not received."""
    monkeypatch.setattr(server, "GATHER_SECONDS", LONG)
    port = free_port()
    async with ingest(port), contextlib.AsyncExitStack() as stack:
        url = await stack.enter_async_context(
            gateway(port, gateway_lane=lane, gateway_body_bytes_max=BODY_BYTES_MAX, gateway_body_grace_seconds=0.1)
        )
        reader, writer = await open_connection(url)
        writer.write(request_of(CURL))
        await asyncio.wait_for(response_from(reader), WAIT_SECONDS_MAX)
        with counting() as taken:
            writer.write(batch(MANY)[:1_000])
            await until_offered(taken, int(lane))
            stopping = asyncio.create_task(stack.aclose())
            await until_offered(taken, 2 * int(lane))
            answer = await asyncio.wait_for(response_from(reader), WAIT_SECONDS_MAX)
        await stopping
        writer.close()

    assert taken == [False, False] * int(lane)
    assert answer.startswith(b"HTTP/1.1 408 ")
