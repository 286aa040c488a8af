"""Requests and bytes in work have limits, in all and for one client; what is beyond them may be sent again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gateway.admission import NO_CLIENT, Admission
from gateway.errors import OverloadedError
from gateway.settings import GatewaySettings
from local.processes.ports import free_port
from tests.contract.endpoints import WAIT_SECONDS_MAX, gateway, ingest, open_connection, post, until_taken

PRODUCE = "/api/v1/produce"
SLOW = b'{"payload": {"event": "slow"}}'
BYTES_MAX = 100_000
HEAD = b"POST /api/v1/produce HTTP/1.1\r\nHost: a\r\n"
ATTEMPTS = 20


@contextlib.asynccontextmanager
async def door(**changes: Any) -> AsyncIterator[str]:
    """Serve with a small budget."""
    port = free_port()
    limits = {"gateway_body_bytes_max": BYTES_MAX // 2, "gateway_bytes_in_flight_max": BYTES_MAX}
    chosen = {**limits, "gateway_stop_seconds_max": 0, **changes}
    async with ingest(port), gateway(port, gateway_timeout_seconds=WAIT_SECONDS_MAX, **chosen) as url:
        yield url


async def answer_to(url: str, *parts: bytes) -> tuple[asyncio.StreamWriter, bytes]:
    """Send bytes on a connection of their own; return the connection and the first line of the answer."""
    reader, writer = await open_connection(url)
    for part in parts:
        writer.write(part)
        await writer.drain()
    return writer, await asyncio.wait_for(reader.readline(), WAIT_SECONDS_MAX)


@contextlib.asynccontextmanager
async def unfinished(url: str, size: int, announced: int) -> AsyncIterator[None]:
    """Hold a body open, of which so many bytes have arrived."""
    _reader, writer = await open_connection(url)
    writer.write(HEAD + b"Content-Length: %d\r\n\r\n" % announced + b" " * size)
    await writer.drain()
    try:
        yield
    finally:
        writer.close()


async def until_refused(url: str, body: bytes) -> tuple[int, Any, str]:
    """Send until there is no room, which another request takes at some moment; return the refusal."""
    for _attempt in range(WAIT_SECONDS_MAX * 100):
        status, answer, headers = await post(f"{url}{PRODUCE}", body)
        if status != 201:
            return status, answer, headers.get("Retry-After", "")
        await asyncio.sleep(0.01)
    raise TimeoutError("there was room at all times")


async def test_announced_bytes_hold_nothing() -> None:
    """Clients that announce much and send nothing take no room from others."""
    async with door() as url, contextlib.AsyncExitStack() as silent:
        for _client in range(ATTEMPTS):
            await silent.enter_async_context(unfinished(url, 1, BYTES_MAX // 2))
        assert (await post(f"{url}{PRODUCE}", b" " * 40_000 + b"{}"))[0] == 201


async def test_what_is_announced_and_has_no_room_is_refused_unread() -> None:
    """With the budget in use, a body is 503 by its announced length, before any of it is sent."""
    async with door() as url, unfinished(url, 45_000, 50_000), unfinished(url, 45_000, 50_000):
        status, answer, retry = await until_refused(url, b" " * 20_000 + b"{}")
        assert (status, answer["code"], retry) == (503, 14, "1")
        assert answer["details"] == [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "1s"}]
        writer, line = await answer_to(url, HEAD + b"Content-Length: 20000\r\n\r\n")
        writer.close()
        assert b" 503 " in line


async def test_chunks_without_room_are_refused() -> None:
    """A body of unknown length is 503 when what has come finds no room."""
    async with door() as url, unfinished(url, 45_000, 50_000), unfinished(url, 45_000, 50_000):
        await until_refused(url, b" " * 20_000 + b"{}")
        chunks = b"5000\r\n" + b" " * 0x5000 + b"\r\n"
        writer, line = await answer_to(url, HEAD + b"Transfer-Encoding: chunked\r\n\r\n", chunks)
        writer.close()
        assert b" 503 " in line


async def test_bytes_are_given_back() -> None:
    """Whatever became of a request, its bytes are free again: answered, refused, too large, left by its client."""
    async with door() as url:
        for _round in range(ATTEMPTS):
            assert (await post(f"{url}{PRODUCE}", b" " * 40_000 + b"{}"))[0] == 201
            assert (await post(f"{url}{PRODUCE}", b" " * 40_000 + b"["))[0] == 400
            assert (await post(f"{url}{PRODUCE}", b" " * 60_000))[0] == 413
            async with unfinished(url, 40_000, 50_000):
                pass
        async with asyncio.timeout(WAIT_SECONDS_MAX):  # until the server has seen that the last client is gone
            await until_taken(f"{url}{PRODUCE}", b" " * 49_000 + b"{}")


async def test_one_client_has_a_share() -> None:
    """An address has its part of the places; another client behind a trusted proxy has its own."""
    untrusted = {"gateway_concurrency_max": 2, "gateway_trusted_networks": ()}
    async with door(**untrusted) as url:
        slow = asyncio.create_task(until_taken(f"{url}{PRODUCE}", SLOW))
        status, answer, _retry = await until_refused(url, b"{}")
        assert (status, "of one client" in answer["message"]) == (503, True)
        slow.cancel()
    async with door(gateway_concurrency_max=2) as url:
        slow = asyncio.create_task(until_taken(f"{url}{PRODUCE}", SLOW, X_Forwarded_For="9.9.9.9, 10.1.1.1"))
        for _attempt in range(WAIT_SECONDS_MAX * 100):
            status, _answer, _headers = await post(f"{url}{PRODUCE}", b"{}", X_Forwarded_For="10.1.1.1")
            if status == 503:
                break
            await asyncio.sleep(0.01)
        assert status == 503
        assert (await post(f"{url}{PRODUCE}", b"{}", X_Forwarded_For="10.1.1.2"))[0] == 201
        assert (await post(f"{url}{PRODUCE}", b"{}"))[0] == 201
        slow.cancel()


@pytest.mark.parametrize(
    "changes",
    [
        {"gateway_bytes_in_flight_max": 8_388_608},
        {"gateway_client_ratio_max": 0.01},
        {"gateway_body_bytes_max": 268_435_456},
    ],
)
def test_a_budget_that_no_body_passes_is_refused(changes: dict[str, Any]) -> None:
    """A setting with which a body within its limit would be refused for ever stops the process."""
    with pytest.raises(ValidationError, match="gateway_bytes_in_flight_max"):
        GatewaySettings(**changes)


@given(st.lists(st.tuples(st.sampled_from(["a", "b", NO_CLIENT]), st.integers(0, 60), st.booleans()), max_size=30))
def test_counts_are_exact(steps: list[tuple[str, int, bool]]) -> None:
    """Whatever is held, replaced and refused: no limit is passed, and in the end nothing is held."""
    admission = Admission(3, 100, 0.5)
    with contextlib.ExitStack() as stack:
        for client, number, is_request in steps:
            with contextlib.suppress(OverloadedError):
                held = stack.enter_context(admission.reserving(client))
                held.check(number)
                held.add(number)
                if is_request:
                    stack.enter_context(admission.in_flight(client))
            assert admission.bytes.in_use <= 100
            assert max(admission.bytes.by_client.values(), default=0) <= 50
            assert admission.requests.in_use <= 3
            assert max(admission.requests.by_client.values(), default=0) <= 1
    for counted in (admission.bytes, admission.requests):
        assert (counted.in_use, counted.by_client) == (0, {})
