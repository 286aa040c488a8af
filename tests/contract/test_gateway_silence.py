"""Silent clients do not lock others out: idle connections, half a head, a body that never arrives, many at once."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import resource
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from grpc_health.v1.health_pb2 import HealthCheckResponse

from common.settings import Address
from gateway.http.body import BodyRate
from gateway.http.connections import OTHER_DESCRIPTORS, Connections, descriptors_for
from local.processes.ports import free_port
from local.processes.program import Program, running
from tests.contract.conftest import LOCALHOST, ROOT, is_alive
from tests.contract.endpoints import WAIT_SECONDS_MAX, gateway, ingest, open_connection, post

HEAD = b"POST /api/v1/produce HTTP/1.1\r\nHost: a\r\n"
IDLE, SILENT_BODIES, CALLS = 2_000, 300, 200
DESCRIPTORS = IDLE + SILENT_BODIES + 500
LONG_SECONDS = 3_600
SERVING = HealthCheckResponse.SERVING


@dataclass(eq=False)
class Fake:
    """A fake connection that records whether it was dropped."""

    is_in_flight: bool = False
    request: bool = False
    waiting: bool = True
    dropped: bool = field(default=False, init=False)

    def has_request(self) -> bool:
        return self.request

    def is_waiting(self) -> bool:
        return self.waiting

    def drop(self) -> None:
        self.dropped = True


def test_the_longest_silent_makes_room() -> None:
    """At the limit the connection that was silent for longest is dropped, but none with a request in flight."""
    connections = Connections(3, LONG_SECONDS)
    working, silent, active, new, newer = Fake(is_in_flight=True), Fake(), Fake(), Fake(), Fake()
    for connection in (working, silent, active):
        connections.add(connection)
    connections.touch(silent)
    connections.touch(active)
    connections.add(new)
    assert [one.dropped for one in (working, silent, active, new)] == [False, True, False, False]
    connections.touch(silent)  # a dropped connection may still receive data
    connections.discard(silent)
    connections.add(newer)
    assert [one.dropped for one in (working, active, new, newer)] == [False, True, False, False]
    assert len(connections) == 3


def test_a_head_has_a_limit() -> None:
    """The time for a head starts with the connection, later with its first byte; further bytes do not extend it."""
    now = 0.0
    connections = Connections(10, 10, lambda: now)
    silent, drip, asking = Fake(), Fake(), Fake()
    for connection in (silent, drip, asking):
        connections.add(connection)
    asking.request = True
    connections.touch(asking)
    for second in range(1, 11):
        now = float(second)
        connections.touch(drip)
        connections.sweep()
    assert [one.dropped for one in (silent, drip, asking)] == [True, True, False]
    # Answered, then idle for long, then half a head.
    asking.request, now = False, 1_000.0
    connections.sweep()
    connections.touch(asking)
    now = 1_009.0
    connections.sweep()
    assert not asking.dropped
    now = 1_010.0
    connections.sweep()
    assert asking.dropped


def test_the_rest_of_a_refused_body_is_not_a_head() -> None:
    """The rest of a refused body is discarded, and does not start the time for a head."""
    now = 0.0
    connections = Connections(10, 10, lambda: now)
    refused = Fake(request=True)
    connections.add(refused)
    connections.touch(refused)
    refused.request, refused.waiting = False, False
    connections.touch(refused)
    now = 100.0
    connections.sweep()
    assert not refused.dropped


def test_the_slowest_rate_of_a_body() -> None:
    """Each byte received extends the deadline beyond the grace period, up to the limit in total."""
    rate = BodyRate(30, 5, 1_000)
    assert [rate.deadline(received) for received in (0, 1_000, 10_000, 10**9)] == [5, 6, 15, 30]


@pytest.mark.parametrize("sent", [b"", b"P", HEAD, b"GET /healthz HTTP/1.1\r\n"])
async def test_half_a_head_has_a_limit(sent: bytes) -> None:
    """A connection that sends nothing or half a head is closed; one that had a response may be idle for longer."""
    async with gateway(free_port(), gateway_head_seconds_max=0.2) as url, asyncio.timeout(WAIT_SECONDS_MAX):
        reader, writer = await open_connection(url)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        assert b" 200 " in await reader.readline()
        await reader.readuntil(b"}")
        silent, silent_writer = await open_connection(url)
        silent_writer.write(sent)
        assert await silent.read() == b""
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        assert b" 200 " in await reader.readline()
        writer.write(b"GET")
        while await reader.read(1_000):
            pass
        for one in (writer, silent_writer):
            one.close()


@pytest.mark.parametrize("head", [b"Content-Length: 100\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n"])
@pytest.mark.parametrize("sent", [b"", b"1"])
async def test_a_body_that_does_not_arrive_is_408(head: bytes, sent: bytes) -> None:
    """A body below the slowest rate is 408 long before the limit in total; the error names both."""
    limits: dict[str, Any] = {"gateway_body_seconds_max": LONG_SECONDS, "gateway_body_grace_seconds": 0.2}
    async with gateway(free_port(), **limits) as url, asyncio.timeout(WAIT_SECONDS_MAX):
        reader, writer = await open_connection(url)
        writer.write(HEAD + head + sent)
        assert b" 408 " in await reader.readline()
        await reader.readuntil(b"1024 bytes a second")
        writer.close()


async def test_idle_connections_make_room() -> None:
    """Calls succeed while another client opens many times the limit of idle connections."""
    port = free_port()
    async with ingest(port), gateway(port, gateway_connections_max=20) as url, contextlib.AsyncExitStack() as idle:
        for _connection in range(200):
            await idle.enter_async_context(held_open(url, b""))
        for _call in range(20):
            assert (await post(f"{url}/api/v1/produce", b"{}"))[0] == 201
            await idle.enter_async_context(held_open(url, HEAD + b"Content-Length: 1000\r\n\r\n{"))


async def test_nobody_is_locked_out(tmp_path: Path) -> None:
    """All calls succeed beside 2,000 idle connections and 300 bodies that never arrive, always reopened."""
    if descriptors_for(DESCRIPTORS) < DESCRIPTORS:
        pytest.skip(f"this machine allows a process less than {DESCRIPTORS} descriptors")
    port = free_port()
    address = Address(LOCALHOST, free_port())
    program = Program(
        name="gateway",
        argv=(sys.executable, "-m", "gateway"),
        log=tmp_path / "gateway.log",
        environment={"UGC_GATEWAY_LISTEN": str(address), "UGC_INGEST_TARGET": f"{LOCALHOST}:{port}"},
        directory=ROOT,
        listens={"UGC_GATEWAY_LISTEN": address},
        ready=lambda: is_alive(address),
    )
    url = f"http://{address}"
    async with ingest(port) as checks, contextlib.AsyncExitStack() as stack:
        await checks.set("", SERVING)
        await asyncio.to_thread(stack.enter_context, running(program))
        for sent in [b""] * IDLE + [HEAD + b"Content-Length: 1000\r\n\r\n{"] * SILENT_BODIES:
            stack.push_async_callback(cancelled, asyncio.create_task(always_open(url, sent)))
        # Each call has a new connection: one that waits for the next call may be the longest silent one of all.
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
            for call in range(CALLS):
                async with session.post(f"{url}/api/v1/produce", data=b"{}") as answer:
                    assert answer.status == 201, call
                async with session.get(f"{url}/readyz") as answer:
                    assert answer.status == 200, call
            many = await asyncio.gather(*[post(f"{url}/api/v1/produce", b"{}") for _call in range(CALLS)])
            assert {status for status, _answer, _headers in many} == {201}


async def always_open(url: str, sent: bytes) -> None:
    """Keep a silent connection open, and open it again when it is closed."""
    for _time in itertools.count():
        reader, writer = await open_connection(url)
        try:
            writer.write(sent)
            while await reader.read(1_000):
                pass
        except ConnectionError:
            pass  # closed by the server: open the next one
        finally:
            writer.close()


async def cancelled(task: asyncio.Task[None]) -> None:
    """Cancel a task at the end."""
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


@contextlib.asynccontextmanager
async def held_open(url: str, sent: bytes) -> AsyncIterator[None]:
    """Keep a connection open on which only these bytes are sent."""
    _reader, writer = await open_connection(url)
    writer.write(sent)
    try:
        yield
    finally:
        writer.close()


def test_descriptors_are_raised() -> None:
    """The limit of connections is what file descriptors allow, whose limit is raised as far as permitted."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        assert descriptors_for(100) == 100
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 256
        assert descriptors_for(500) == 500
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 500 + OTHER_DESCRIPTORS
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
