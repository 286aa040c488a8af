"""Requests in flight and bytes in memory have limits, in total and for each client; refused requests can be retried."""

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
async def limited_gateway(**changes: Any) -> AsyncIterator[str]:
    """Serve a gateway with low limits."""
    port = free_port()
    limits = {"gateway_body_bytes_max": BYTES_MAX // 2, "gateway_bytes_in_flight_max": BYTES_MAX}
    chosen = {**limits, "gateway_stop_seconds_max": 0, **changes}
    async with ingest(port), gateway(port, gateway_timeout_seconds=WAIT_SECONDS_MAX, **chosen) as url:
        yield url


async def answer_to(url: str, *parts: bytes) -> tuple[asyncio.StreamWriter, bytes]:
    """Send bytes on a new connection; return the connection and the first line of the response."""
    reader, writer = await open_connection(url)
    for part in parts:
        writer.write(part)
        await writer.drain()
    return writer, await asyncio.wait_for(reader.readline(), WAIT_SECONDS_MAX)


@contextlib.asynccontextmanager
async def unfinished(url: str, size: int, announced: int) -> AsyncIterator[None]:
    """Keep a request open of whose body only `size` bytes have been sent."""
    _reader, writer = await open_connection(url)
    writer.write(HEAD + b"Content-Length: %d\r\n\r\n" % announced + b" " * size)
    await writer.drain()
    try:
        yield
    finally:
        writer.close()


async def until_refused(url: str, body: bytes) -> tuple[int, Any, str]:
    """Send until another request holds the quota; return the refusal."""
    for _attempt in range(WAIT_SECONDS_MAX * 100):
        status, answer, headers = await post(f"{url}{PRODUCE}", body)
        if status != 201:
            return status, answer, headers.get("Retry-After", "")
        await asyncio.sleep(0.01)
    raise TimeoutError("no request was refused")


async def test_announced_bytes_reserve_nothing() -> None:
    """An announced length reserves nothing: clients that announce much and send nothing do not block others."""
    async with limited_gateway() as url, contextlib.AsyncExitStack() as silent:
        for _client in range(ATTEMPTS):
            await silent.enter_async_context(unfinished(url, 1, BYTES_MAX // 2))
        assert (await post(f"{url}{PRODUCE}", b" " * 40_000 + b"{}"))[0] == 201


async def test_an_announced_length_above_the_quota_is_refused_at_once() -> None:
    """When the quota is in use, a body is 503 by its announced length, before any of it is sent."""
    async with limited_gateway() as url, unfinished(url, 45_000, 50_000), unfinished(url, 45_000, 50_000):
        status, answer, retry = await until_refused(url, b" " * 20_000 + b"{}")
        assert (status, answer["code"], retry) == (503, 14, "1")
        assert answer["details"] == [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "1s"}]
        writer, line = await answer_to(url, HEAD + b"Content-Length: 20000\r\n\r\n")
        writer.close()
        assert b" 503 " in line


async def test_chunks_above_the_quota_are_refused() -> None:
    """A body of unknown length is 503 when the bytes that have arrived exceed the quota."""
    async with limited_gateway() as url, unfinished(url, 45_000, 50_000), unfinished(url, 45_000, 50_000):
        await until_refused(url, b" " * 20_000 + b"{}")
        chunks = b"5000\r\n" + b" " * 0x5000 + b"\r\n"
        writer, line = await answer_to(url, HEAD + b"Transfer-Encoding: chunked\r\n\r\n", chunks)
        writer.close()
        assert b" 503 " in line


async def test_bytes_are_released() -> None:
    """Every request releases its bytes: answered, refused, too large, or left by its client."""
    async with limited_gateway() as url:
        for _round in range(ATTEMPTS):
            assert (await post(f"{url}{PRODUCE}", b" " * 40_000 + b"{}"))[0] == 201
            assert (await post(f"{url}{PRODUCE}", b" " * 40_000 + b"["))[0] == 400
            assert (await post(f"{url}{PRODUCE}", b" " * 60_000))[0] == 413
            async with unfinished(url, 40_000, 50_000):
                pass
        async with asyncio.timeout(
            WAIT_SECONDS_MAX
        ):  # until the server has noticed that the last client has disconnected
            await until_taken(f"{url}{PRODUCE}", b" " * 49_000 + b"{}")


async def test_one_client_has_a_share() -> None:
    """An address may use its part of the limit; a client behind a trusted proxy has a part of its own."""
    untrusted = {"gateway_concurrency_max": 2, "gateway_trusted_networks": ()}
    async with limited_gateway(**untrusted) as url:
        slow = asyncio.create_task(until_taken(f"{url}{PRODUCE}", SLOW))
        status, answer, _retry = await until_refused(url, b"{}")
        assert (status, "of one client" in answer["message"]) == (503, True)
        slow.cancel()
    async with limited_gateway(gateway_concurrency_max=2) as url:
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
def test_a_quota_below_the_largest_body_is_refused(changes: dict[str, Any]) -> None:
    """The process refuses to start with limits under which a body of allowed size could never be accepted."""
    with pytest.raises(ValidationError, match="gateway_bytes_in_flight_max"):
        GatewaySettings(**changes)


@given(st.lists(st.tuples(st.sampled_from(["a", "b", NO_CLIENT]), st.integers(0, 60), st.booleans()), max_size=30))
def test_counts_are_exact(steps: list[tuple[str, int, bool]]) -> None:
    """Reservations never exceed a limit, and nothing stays reserved at the end."""
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
