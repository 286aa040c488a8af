"""What clients can make the gateway log: a few short lines of each kind, whatever they send and however often."""

from __future__ import annotations

import asyncio
import json
import struct
from pathlib import Path
from socket import SO_LINGER, SOL_SOCKET, socket

import pytest

from local.processes.ports import free_port
from local.processes.program import running
from tests.contract.endpoints import ingest, open_connection, post
from tests.contract.processes import gateway_program

TIMES = 60
SECRET = b"a-clients-secret"
POST = b"POST /api/v1/produce HTTP/1.1\r\nHost: a\r\n"
CAUSES = {
    "aborted in the body": POST + b"Content-Length: 500\r\n\r\n{",
    "aborted in a chunk": POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{",
    "aborted in the head": POST + b"X-A: ",
    "malformed head": POST + b"X A: " + SECRET + b"\r\n\r\n",
    "malformed chunk": POST + b"Transfer-Encoding: chunked\r\n\r\nx" + SECRET + b"\r\n",
    "long header": POST + b"Authorization: Bearer " + SECRET * 4_000 + b"\r\n\r\n",
    "long target": b"GET /" + SECRET * 4_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    "control characters": b"GET /\x1b[31m" + SECRET + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    "TLS": b"\x16\x03\x01" + SECRET,
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "no answer awaited": POST + b"Content-Length: 2\r\n\r\n{}",
    "malformed after a good one": POST + b"Content-Length: 2\r\n\r\n{}" + SECRET + b"\r\n\r\n",
}


async def sent(url: str, data: bytes, *, reset: bool) -> None:
    """Send bytes and disconnect, by closing or by a reset."""
    _reader, writer = await open_connection(url)
    writer.write(data)
    await writer.drain()
    if reset:
        connection: socket = writer.get_extra_info("socket")
        connection.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
    else:
        writer.close()


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize("cause", CAUSES)
async def test_what_clients_can_cause(cause: str, reset: bool, tmp_path: Path) -> None:
    """Sixty equal requests log at most two lines: short, below level error, without a stack and without client data."""
    port, log = free_port(), tmp_path / "gateway.log"
    async with ingest(port):
        with running(gateway_program(log, port)) as child:
            url = f"http://{child.program.listens['UGC_GATEWAY_LISTEN']}"
            await asyncio.gather(*(sent(url, CAUSES[cause], reset=reset) for _time in range(TIMES)))
            assert (await post(f"{url}/api/v1/produce", b"{}"))[0] == 201
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    caused = [line for line in lines if line["event"] not in ("serving", "stopped serving")]

    assert len(caused) <= 2
    assert all(line["level"] == "info" and "exception" not in line for line in caused)
    assert all(len(json.dumps(line)) < 1_000 for line in caused)
    assert SECRET.decode() not in log.read_text()
    assert len(log.read_text().splitlines()) == len(lines)
