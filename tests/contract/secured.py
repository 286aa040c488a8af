"""A gateway with mTLS as a process of its own, in front of a fake ingest, and its clients."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from http.client import HTTPSConnection
from pathlib import Path
from typing import NamedTuple

from common.settings import Address
from local.processes.ports import free_port
from local.processes.program import Child, running
from tests.contract.endpoints import WAIT_SECONDS_MAX, ingest
from tests.contract.processes import gateway_program
from tests.support.certificates import Certificates
from tests.support.clients.tls import answer_to, client_context

GET = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"


class Served(NamedTuple):
    """A gateway with TLS: its address, what a client trusts and presents, and its process."""

    address: Address
    context: ssl.SSLContext
    child: Child

    def ask(self, method: str, path: str, body: bytes = b"") -> int:
        """Send one request on a connection of its own; return the status."""
        return self.statuses(method, path, body, count=1)[0]

    def statuses(self, method: str, path: str, body: bytes, count: int) -> list[int]:
        """Send a request several times on one connection; return the statuses."""
        found = []
        connection = HTTPSConnection("localhost", self.address.port, timeout=WAIT_SECONDS_MAX, context=self.context)
        with contextlib.closing(connection):
            for _request in range(count):
                connection.request(method, path, body or None)
                with connection.getresponse() as response:
                    response.read()
                    found.append(response.status)
        return found

    def lines(self, text: str) -> list[dict[str, object]]:
        """Return the lines of the log whose event contains a text."""
        lines = map(json.loads, self.child.program.log.read_text().splitlines())
        return [line for line in lines if text in line["event"]]


@contextlib.asynccontextmanager
async def secured(
    certificates: Certificates, folder: Path, *, authority: Path | None = None, **environment: str
) -> AsyncIterator[Served]:
    """Serve by a process with mTLS in front of a fake ingest."""
    port, server = free_port(), certificates.server
    files = {
        "UGC_GATEWAY_TLS_CERT_FILE": str(server.certificate),
        "UGC_GATEWAY_TLS_KEY_FILE": str(server.key),
        "UGC_GATEWAY_TLS_CLIENT_CA_FILE": str(authority or certificates.authority.file),
    }
    context = client_context(certificates.authority.file, certificates.client, alpn="http/1.1")
    program = gateway_program(folder / "gateway.log", port, **files, **environment)
    address = program.listens["UGC_GATEWAY_LISTEN"]
    async with ingest(port):
        with running(replace(program, ready=lambda: is_served(address, context))) as child:
            yield Served(address, context, child)


def is_served(address: Address, context: ssl.SSLContext | None, request: bytes = GET) -> bool:
    """Return whether the gateway answers a client."""
    try:
        return b" 200 " in answer_to(address, context, request)
    except OSError:
        return False


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition, which is asked in a thread."""
    async with asyncio.timeout(WAIT_SECONDS_MAX):
        while not await asyncio.to_thread(condition):  # noqa: ASYNC110 -- of another process
            await asyncio.sleep(0.05)


def secured_socket(gateway: Served, buffer_bytes: int = 65_536, session: ssl.SSLSession | None = None) -> ssl.SSLSocket:
    """Connect to a gateway with a receive buffer of a size; the handshake is done."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
    client.settimeout(WAIT_SECONDS_MAX)
    client.connect(gateway.address)
    # Without the end of the client's own side: its socket is closed as it is.
    return gateway.context.wrap_socket(client, server_hostname="localhost", session=session)


def presented(gateway: Served) -> bytes:
    """Return the certificate that the gateway presents on a new connection."""
    with secured_socket(gateway) as client:
        return client.getpeercert(binary_form=True) or b""
