"""Every certificate and the authority are replaced under load, on both sides of both connections: no call fails."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from http.client import HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any

import grpc
import pytest
from structlog.testing import capture_logs

from common import watched_files
from common.settings import Address, parse_address
from local.processes.program import running
from local.up.example import DOCUMENTED_EVENT
from tests.contract.processes import gateway_program
from tests.contract.secured import GET, is_served
from tests.support.certificates import Authority, Certificates, Pair
from tests.support.clients.calls import AcceptingPublisher
from tests.support.clients.tls import client_context
from tests.support.processes.ingest_server import ingest_server

WAIT_SECONDS_MAX = 60.0
CLIENTS, CALLS_OF_A_CONNECTION, CALLS_OF_A_PHASE = 4, 5, 50
# What calls have to finish when their connection is ended. Half of it later its stream is ended.
GRACE_SECONDS = 10.0
RELOADED = "TLS files were reloaded"


@dataclass
class Load:
    """Clients of the gateway that always call it, with the certificates that they have at the moment."""

    address: Address
    context: Callable[[], ssl.SSLContext]
    answered: int = 0
    failures: list[str] = field(default_factory=list)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Call until the end of the block."""
        stop = asyncio.Event()
        clients = [asyncio.create_task(self._call_until(stop)) for _client in range(CLIENTS)]
        try:
            yield
        finally:
            stop.set()
            await asyncio.gather(*clients)

    async def phase(self) -> None:
        """Return after further calls."""
        wanted = self.answered + CALLS_OF_A_PHASE
        await until(lambda: self.answered >= wanted or bool(self.failures))

    async def _call_until(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await asyncio.to_thread(self._connection)

    def _connection(self) -> None:
        """Make some calls on a new connection."""
        connection = HTTPSConnection("localhost", self.address.port, timeout=WAIT_SECONDS_MAX, context=self.context())
        try:
            with contextlib.closing(connection):
                for _call in range(CALLS_OF_A_CONNECTION):
                    connection.request("POST", "/api/v1/produce", DOCUMENTED_EVENT.encode())
                    with connection.getresponse() as response:
                        text = response.read()
                        if response.status == 201:
                            self.answered += 1
                        else:
                            self.failures.append(f"{response.status} {text!r}")
        except (OSError, HTTPException) as error:
            self.failures.append(repr(error))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_SECONDS_MAX):
        while not condition():  # noqa: ASYNC110 -- of several processes
            await asyncio.sleep(0.05)


async def test_rotation(certificates: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files of ingest, of the gateway's listener and of its channel change, in the three steps of the guide.

    Ingest ends each connection within seconds, so that every state of the files meets handshakes.
    """
    monkeypatch.setattr(watched_files, "RELOAD_SECONDS", 0.1)
    old, new = certificates.authority, certificates.other_authority
    pairs = {name: old.issue(name) for name in ("ingest", "gateway", "channel", "load")}
    bundle = certificates.bundle(old)
    log = tmp_path / "gateway.log"

    def context() -> ssl.SSLContext:
        return client_context(bundle, pairs["load"], alpn="http/1.1")

    with capture_logs() as lines:

        async def reloaded(step: int) -> None:
            """Wait until ingest has read its files for the step, and the gateway those of both its sides."""
            await until(lambda: sum(line["event"] == RELOADED for line in lines) >= step)
            await until(lambda: log.read_text().count(RELOADED) >= 2 * step)

        async with ingest_server(
            AcceptingPublisher(),
            credentials=channel_credentials(old, pairs["channel"]),
            ingest_connection_age_seconds_max=0.5,
            ingest_connection_grace_seconds=GRACE_SECONDS,
            **server_settings(pairs["ingest"], bundle),
        ) as ingest:
            program = gateway_program(
                log, parse_address(ingest).port, **gateway_settings(pairs["gateway"], pairs["channel"], bundle)
            )
            address = program.listens["UGC_GATEWAY_LISTEN"]
            program = replace(program, ready=lambda: is_served(address, context(), READY))
            async with contextlib.AsyncExitStack() as stack:
                # Ingest serves in this thread.
                await asyncio.to_thread(stack.enter_context, running(program))
                load = Load(address, context)
                async with load.running():
                    await load.phase()
                    certificates.bundle(old, new)
                    await reloaded(1)
                    await load.phase()
                    former = pairs["load"]
                    pairs["load"] = new.issue("load")
                    for name in ("ingest", "gateway", "channel"):
                        pairs[name].replace_with(new.issue(name))
                    await reloaded(2)
                    await load.phase()
                    certificates.bundle(new)
                    await reloaded(3)
                    # By then no connection is left of those that were opened before.
                    await asyncio.sleep(GRACE_SECONDS)
                    await load.phase()
                assert load.failures == []
                refused = client_context(bundle, former, alpn="http/1.1")
                assert not await asyncio.to_thread(is_served, address, refused)


READY = GET.replace(b"/healthz", b"/readyz")


def channel_credentials(authority: Authority, pair: Pair) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(
        authority.file.read_bytes(), pair.key.read_bytes(), pair.certificate.read_bytes()
    )


def server_settings(pair: Pair, authorities: Path) -> dict[str, Any]:
    return {
        "ingest_tls_cert_file": pair.certificate,
        "ingest_tls_key_file": pair.key,
        "ingest_tls_client_ca_file": authorities,
    }


def gateway_settings(server: Pair, client: Pair, authorities: Path) -> dict[str, str]:
    files = {
        "GATEWAY_TLS_CERT": server.certificate,
        "GATEWAY_TLS_KEY": server.key,
        "GATEWAY_TLS_CLIENT_CA": authorities,
        "INGEST_TARGET_TLS_CA": authorities,
        "INGEST_TARGET_TLS_CERT": client.certificate,
        "INGEST_TARGET_TLS_KEY": client.key,
    }
    return {f"UGC_{name}_FILE": str(path) for name, path in files.items()}
