"""Clients that half-close, do not read their response, or are too many."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from local.processes.ports import free_port
from local.processes.program import Child, running
from tests.contract.endpoints import WAIT_SECONDS_MAX, ingest, open_connection, post
from tests.contract.processes import gateway_program
from tests.contract.raw_service import raw_service

POST = b"POST /api/v1/produce HTTP/1.1\r\nHost: a\r\n"
ONE = POST + b'Content-Length: 17\r\n\r\n{"event_id": "e"}'
CHUNKED = POST + b'Transfer-Encoding: chunked\r\n\r\n11\r\n{"event_id": "e"}\r\n0\r\n\r\n'
SLOW_BODY = b'{"payload": {"event": "slow"}}'
SLOW = POST + b"Content-Length: %d\r\n\r\n" % len(SLOW_BODY) + SLOW_BODY
TCP_STATE_CLOSED = 7
STORED = b'{"eventId":"e"}'

# States of a TCP socket in /proc/net/tcp.
ESTABLISHED, CLOSE_WAIT = "01", "08"


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[tuple[str, Child]]:
    """Serve by a process that resets slow readers after a second, in front of a fake ingest."""
    port = free_port()
    program = gateway_program(
        tmp_path / "gateway.log", port, UGC_GATEWAY_ANSWER_SECONDS_MAX="1", UGC_GATEWAY_TIMEOUT_SECONDS="3"
    )
    async with ingest(port):
        with running(program) as child:
            yield f"http://{child.program.listens['UGC_GATEWAY_LISTEN']}", child


async def half_closed(url: str, *parts: bytes) -> bytes:
    """Send, half-close, and return everything until the end."""
    reader, writer = await open_connection(url)
    async with asyncio.timeout(WAIT_SECONDS_MAX):
        for part in parts:
            writer.write(part)
            await writer.drain()
        writer.write_eof()
        received = await reader.read()
        writer.close()
        await writer.wait_closed()
    return received


@pytest.mark.parametrize("request_", [ONE, CHUNKED, ONE.replace(b"1.1", b"1.0")], ids=["length", "chunks", "HTTP/1.0"])
async def test_half_closed_clients_get_their_answer(served: tuple[str, Child], request_: bytes) -> None:
    """A half-closed client gets its response, and then the connection is closed."""
    received = await half_closed(served[0], request_)

    assert (received.split()[1], received.count(STORED)) == (b"201", 1)


async def test_half_closed_clients_get_all_answers(served: tuple[str, Child]) -> None:
    """A half-closed client gets the responses of all pipelined requests."""
    received = await half_closed(served[0], ONE * 5)

    assert (received.count(b" 201 "), received.count(STORED)) == (5, 5)


async def test_half_closed_clients_get_a_late_answer(served: tuple[str, Child]) -> None:
    """A half-closed client gets a late response too; before it come only interim responses, which clients ignore."""
    received = await half_closed(served[0], SLOW)
    last = received.replace(b"HTTP/1.1 100 Continue\r\n\r\n", b"")

    assert last.split()[1] == b"504"


async def test_clients_that_are_gone(tmp_path: Path) -> None:
    """A client that has disconnected does not keep its connection, although the service never answers."""
    async with raw_service(lambda _stream, _writer: None) as port:
        patience = {"UGC_GATEWAY_TIMEOUT_SECONDS": "600", "UGC_GATEWAY_STOP_SECONDS_MAX": "0"}
        program = gateway_program(tmp_path / "gateway.log", port, **patience)
        with running(program) as child:
            url = f"http://{child.program.listens['UGC_GATEWAY_LISTEN']}"
            clients = [await open_connection(url) for _client in range(5)]
            for _reader, writer in clients:
                writer.write(ONE)
                await writer.drain()
            await until(lambda: connections(url) == len(clients))
            for _reader, writer in clients:
                writer.close()
                await writer.wait_closed()
            await until(lambda: connections(url) == 0)


@pytest.mark.parametrize("request_", [ONE[:-1], CHUNKED[:-5], ONE[:40], b"", POST], ids=str)
async def test_half_closed_in_the_middle(served: tuple[str, Child], request_: bytes) -> None:
    """A half-closed connection with an incomplete request is closed at once."""
    assert await half_closed(served[0], request_) == b""


async def test_a_client_that_does_not_read(served: tuple[str, Child]) -> None:
    """Its connection is reset and its response dropped; other clients are served, and the log has one line."""
    url, child = served
    with contextlib.ExitStack() as opened:
        clients = [opened.enter_context(await silent_reader(url)) for _client in range(20)]
        await until(lambda: all(map(is_cut, clients)))
        assert (await post(f"{url}/api/v1/produce", b"{}"))[0] == 201
    lines = [
        line for line in map(json.loads, child.program.log.read_text().splitlines()) if "response" in line["event"]
    ]
    assert [(line["event"], line["level"]) for line in lines] == [("a client did not read its response", "info")]


async def test_a_client_that_reads_slowly(served: tuple[str, Child]) -> None:
    """A client that reads steadily gets the whole response, however many periods that takes."""
    url, _child = served
    loop, size = asyncio.get_running_loop(), 0
    with await silent_reader(url) as client:
        async with asyncio.timeout(WAIT_SECONDS_MAX):
            while piece := await loop.sock_recv(client, 65_536):
                before, size = size, size + len(piece)
                if before // 500_000 < size // 500_000:
                    await asyncio.sleep(0.6)  # slower than it is written
    assert size > 3_000_000


async def test_more_connections_than_descriptors(served: tuple[str, Child]) -> None:
    """A process without free file descriptors logs one line, and serves again when there are some."""
    url, child = served
    assert (await post(f"{url}/api/v1/produce", b"{}"))[0] == 201
    before = resource.prlimit(child.process.pid, resource.RLIMIT_NOFILE)
    open_now = descriptors(child)
    resource.prlimit(child.process.pid, resource.RLIMIT_NOFILE, (open_now + 5, before[1]))
    host, _, port = url.removeprefix("http://").partition(":")
    with contextlib.ExitStack() as opened:
        for _client in range(40):
            opened.enter_context(socket.create_connection((host, int(port)), timeout=WAIT_SECONDS_MAX))
        await until(lambda: "no file descriptor is left" in child.program.log.read_text())
        resource.prlimit(child.process.pid, resource.RLIMIT_NOFILE, before)
    assert (await post(f"{url}/api/v1/produce", b"{}"))[0] == 201


async def silent_reader(url: str) -> socket.socket:
    """Request the largest page with a small receive window, and read nothing of it."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    client.setblocking(False)  # noqa: FBT003 -- named by the library
    host, _, port = url.removeprefix("http://").partition(":")
    loop = asyncio.get_running_loop()
    await loop.sock_connect(client, (host, int(port)))
    await loop.sock_sendall(client, b"GET /api/openapi/scalar.js HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    return client


def is_cut(client: socket.socket) -> bool:
    """Whether the server has reset the connection."""
    return client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == TCP_STATE_CLOSED


def connections(url: str) -> int:
    """Count the connections that a server has not closed, including those that its clients have closed."""
    port = int(url.rpartition(":")[2])
    sockets = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(fields[1].endswith(f":{port:04X}") and fields[3] in (ESTABLISHED, CLOSE_WAIT) for fields in sockets)


def descriptors(child: Child) -> int:
    """Count the open files of a process."""
    return len(os.listdir(f"/proc/{child.process.pid}/fd"))  # noqa: PTH208 -- names are enough


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(WAIT_SECONDS_MAX):
        while not condition():  # noqa: ASYNC110 -- of another process
            await asyncio.sleep(0.05)
