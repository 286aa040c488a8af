"""TLS of ingest: who is served and who is refused, silent handshakes, and a change of the files while it serves."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from datetime import UTC, datetime
from typing import Any

import grpc
import pytest
from structlog.testing import capture_logs

from common import watched_files
from common.settings import Address, parse_address
from services.ingest import server
from services.ingest.metrics import IngestMetrics
from services.ingest.server import SERVING
from tests.support.certificates import Certificates, Pair
from tests.support.clients.calls import AcceptingPublisher
from tests.support.clients.tls import answer_to, client_context, hello, received, refused_clients
from tests.support.processes.ingest_server import connection, health, ingest_server

END = datetime(2030, 1, 1, tzinfo=UTC)
POLL_SECONDS, ATTEMPTS = 0.05, 600
# The beginning of an HTTP/2 connection: the preface and empty SETTINGS.
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
SETTINGS_FRAME = 4
SILENT = 50


def settings(certificates: Certificates, *, mutual: bool) -> dict[str, Any]:
    pair = certificates.server
    files: dict[str, Any] = {"ingest_tls_cert_file": pair.certificate, "ingest_tls_key_file": pair.key}
    return files | ({"ingest_tls_client_ca_file": certificates.authority.file} if mutual else {})


def credentials(certificates: Certificates, client: Pair | None) -> grpc.ChannelCredentials:
    key, certificate = (client.key.read_bytes(), client.certificate.read_bytes()) if client else (None, None)
    return grpc.ssl_channel_credentials(certificates.authority.file.read_bytes(), key, certificate)


@contextlib.asynccontextmanager
async def secured(certificates: Certificates, *, mutual: bool = True, **changes: Any) -> AsyncIterator[Address]:
    """Serve with TLS, and with certificates of clients if it is mutual; yield the address."""
    client = certificates.client if mutual else None
    chosen = settings(certificates, mutual=mutual) | changes
    async with ingest_server(AcceptingPublisher(), credentials=credentials(certificates, client), **chosen) as address:
        yield parse_address(address)


async def is_served(address: Address, context: ssl.SSLContext | None) -> bool:
    """Return whether the server speaks HTTP/2 to a client."""
    try:
        answer = await asyncio.to_thread(answer_to, address, context, PREFACE)
    except (ssl.SSLError, ConnectionError):
        return False
    return len(answer) > 3 and answer[3] == SETTINGS_FRAME


def presented(address: Address, context: ssl.SSLContext) -> bytes:
    """Return the certificate that the server presents."""
    with socket.create_connection(address) as opened, context.wrap_socket(opened, server_hostname="localhost") as tls:
        return tls.getpeercert(binary_form=True) or b""


async def eventually(condition: Callable[[], Awaitable[bool]], *, wanted: bool = True) -> None:
    """Wait until a condition is as wanted; AssertionError when it does not become so."""
    for _ in range(ATTEMPTS):
        if await condition() == wanted:
            return
        await asyncio.sleep(POLL_SECONDS)
    raise AssertionError("nothing has changed")


async def changed(address: Address, context: ssl.SSLContext, before: bytes) -> None:
    """Wait until the server presents another certificate than before."""

    async def is_another() -> bool:
        return await asyncio.to_thread(presented, address, context) != before

    await eventually(is_another)


async def failed(lines: list[MutableMapping[str, Any]], count: int) -> None:
    """Wait until failures to reload have been logged."""

    async def is_logged() -> bool:
        return sum("failed" in line["event"] for line in lines) >= count

    await eventually(is_logged)


def expiries(metrics: IngestMetrics) -> Mapping[tuple[str, ...], float]:
    """Return the ends of the validity of certificates that the metrics show."""
    read = metrics.certificate_expiry.read
    assert read is not None
    return read()


async def test_served(certificates: Certificates) -> None:
    """With TLS any client is served by TLS 1.2 and 1.3; with mTLS one that has a certificate of the authority."""
    authority = certificates.authority.file
    async with secured(certificates, mutual=False) as address:
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            assert await is_served(address, client_context(authority, version=version))
    async with secured(certificates) as address:
        assert await is_served(address, client_context(authority, certificates.client))


async def test_refused(certificates: Certificates) -> None:
    """With mTLS plaintext, old versions, and clients without a valid certificate of the authority are refused."""
    async with secured(certificates) as address:
        served = {name: await is_served(address, client) for name, client in refused_clients(certificates).items()}

        assert served == dict.fromkeys(served, False)
        assert await is_served(address, client_context(certificates.authority.file, certificates.client))


async def test_plaintext_server(certificates: Certificates) -> None:
    """TLS to a server without it fails, and the server goes on."""
    async with ingest_server(AcceptingPublisher()) as text:
        address = parse_address(text)
        assert not await is_served(address, client_context(certificates.authority.file))
        assert await is_served(address, None)


async def test_silent_handshakes(certificates: Certificates, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients that stop in their handshake, before or in their first message, hold up nobody, and are closed."""
    monkeypatch.setattr(server, "HANDSHAKE_MILLISECONDS_MAX", 1_000)
    first = hello(client_context(certificates.authority.file))
    async with secured(certificates) as address:
        with contextlib.ExitStack() as opened:
            silent = [opened.enter_context(socket.create_connection(address)) for _ in range(SILENT)]
            for number, each in enumerate(silent):
                each.settimeout(30)
                each.sendall(first[: number % 3 * 40])
            async with connection(str(address), credentials(certificates, certificates.client)) as channel:
                assert await health(channel) == SERVING
            ends = await asyncio.gather(*(asyncio.to_thread(received, each) for each in silent))

    assert ends == [b""] * SILENT


async def test_reload(certificates: Certificates, monkeypatch: pytest.MonkeyPatch) -> None:
    """New files are presented to new connections, open ones go on, and the end of the validity is that of the new."""
    monkeypatch.setattr(watched_files, "RELOAD_SECONDS", 0.05)
    metrics = IngestMetrics()
    trusted = client_context(certificates.authority.file, certificates.client)
    async with secured(certificates, metrics=metrics) as address:
        before = await asyncio.to_thread(presented, address, trusted)
        expiry = expiries(metrics)
        async with connection(str(address), credentials(certificates, certificates.client)) as channel:
            assert await health(channel) == SERVING
            certificates.server.replace_with(certificates.authority.issue("renewed", not_after=END))
            await changed(address, trusted, before)
            assert await health(channel) == SERVING

    assert expiry != expiries(metrics) == {("server",): END.timestamp()}


async def test_half_written(certificates: Certificates, monkeypatch: pytest.MonkeyPatch) -> None:
    """While certificate and key do not match, the old ones are presented and one outage is logged."""
    monkeypatch.setattr(watched_files, "RELOAD_SECONDS", 0.05)
    trusted = client_context(certificates.authority.file, certificates.client)
    renewed = certificates.authority.issue("renewed")
    async with secured(certificates) as address:
        with capture_logs() as lines:
            before = await asyncio.to_thread(presented, address, trusted)
            certificates.server.certificate.write_bytes(renewed.certificate.read_bytes()[:100])
            await failed(lines, 1)
            assert await asyncio.to_thread(presented, address, trusted) == before
            certificates.server.certificate.write_bytes(renewed.certificate.read_bytes())
            await failed(lines, 2)
            assert await asyncio.to_thread(presented, address, trusted) == before
            certificates.server.key.write_bytes(renewed.key.read_bytes())
            await changed(address, trusted, before)

    events = [line["event"] for line in lines if "TLS files" in line["event"]]
    assert events == [
        "reloading TLS files failed, retrying",
        "reloading TLS files failed, retrying",
        "reloading TLS files works again",
        "TLS files were reloaded",
    ]


async def test_authorities_change(certificates: Certificates, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients of an authority are accepted once its certificate is in the file, and no more once it is not."""
    monkeypatch.setattr(watched_files, "RELOAD_SECONDS", 0.05)
    old, new = certificates.authority, certificates.other_authority
    bundle = certificates.bundle(old)
    of_new = client_context(old.file, certificates.client_of_other)
    of_old = client_context(old.file, certificates.client)
    async with secured(certificates, ingest_tls_client_ca_file=bundle) as address:
        assert not await is_served(address, of_new)
        certificates.bundle(old, new)
        await eventually(lambda: is_served(address, of_new))
        assert await is_served(address, of_old)
        certificates.bundle(new)
        await eventually(lambda: is_served(address, of_old), wanted=False)
        assert await is_served(address, of_new)
