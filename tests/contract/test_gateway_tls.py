"""TLS of the gateway: who is served and who is refused, clients that stop in the middle, and files that change."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from pathlib import Path

import pytest

from local.processes.ports import free_port
from local.processes.program import running
from tests.contract.endpoints import WAIT_SECONDS_MAX, ingest
from tests.contract.processes import gateway_program
from tests.contract.secured import GET, Served, is_served, presented, secured, secured_socket, until
from tests.support.certificates import Certificates
from tests.support.clients.tls import answer_to, client_context, hello, received, refused_clients

PAGE = b"GET /api/openapi/scalar.js HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
CONNECTIONS_MAX, SILENT = 20, 200
SCRIPT_BYTES_MIN = 3_000_000
TCP_STATES_CLOSED = (7, 8)  # reset, or closed by the server


async def test_served(certificates: Certificates, tmp_path: Path) -> None:
    """Requests of all sizes are answered by TLS 1.2 and 1.3, many on one connection, on the lane and without it."""
    event, large = b'{"payload": {"event": "play"}}', b'{"payload": {"event": "%s"}}' % (b"a" * 500_000)
    old = client_context(certificates.authority.file, certificates.client, ssl.TLSVersion.TLSv1_2, "http/1.1")
    async with secured(certificates, tmp_path) as served:
        for each in (served, served._replace(context=old)):
            for body in (event, large):
                statuses = await asyncio.to_thread(each.statuses, "POST", "/api/v1/produce", body, 5)
                assert statuses == [201] * 5
            assert await asyncio.to_thread(each.ask, "GET", "/healthz") == 200


async def test_refused(certificates: Certificates, tmp_path: Path) -> None:
    """Plaintext, old versions, and clients without a valid certificate of the authority are refused, with a reason."""
    async with secured(certificates, tmp_path) as gateway:
        served = {
            name: await asyncio.to_thread(is_served, gateway.address, client)
            for name, client in refused_clients(certificates).items()
        }
        assert served == dict.fromkeys(served, False)
        assert await asyncio.to_thread(gateway.ask, "GET", "/healthz") == 200

        reasons = {str(line["reason"]) for line in gateway.lines("a TLS handshake failed")}
        assert reasons & {"http request", "peer did not return a certificate", "certificate verify failed"}


async def test_other_servers(certificates: Certificates, tmp_path: Path) -> None:
    """A client refuses a gateway of an authority that it does not trust; TLS to a plaintext gateway fails."""
    port = free_port()
    async with secured(certificates, tmp_path) as gateway, ingest(port):
        doubting = client_context(certificates.other_authority.file, certificates.client)
        with pytest.raises(ssl.SSLError, match="certificate verify failed"):
            await asyncio.to_thread(answer_to, gateway.address, doubting, GET)
        with running(gateway_program(tmp_path / "plain.log", port)) as plain:
            address = plain.program.listens["UGC_GATEWAY_LISTEN"]
            assert not await asyncio.to_thread(is_served, address, gateway.context)
            assert await asyncio.to_thread(is_served, address, None)


async def test_silent_handshakes_make_room(certificates: Certificates, tmp_path: Path) -> None:
    """Many more silent handshakes than connections are allowed lock nobody out: the oldest are closed for others."""
    first = hello(client_context(certificates.authority.file))
    async with secured(
        certificates,
        tmp_path,
        UGC_GATEWAY_CONNECTIONS_MAX=str(CONNECTIONS_MAX),
        UGC_GATEWAY_HEAD_SECONDS_MAX="3600",
    ) as gateway:
        with contextlib.ExitStack() as opened:
            silent = []
            for number in range(SILENT):
                silent.append(opened.enter_context(socket.create_connection(gateway.address, WAIT_SECONDS_MAX)))
                silent[-1].sendall(first[: number % 3 * 40])
            for _request in range(5):
                assert await asyncio.to_thread(gateway.ask, "POST", "/api/v1/produce", b"{}") == 201
            ends = await asyncio.gather(
                *(asyncio.to_thread(received, each) for each in silent[: SILENT - CONNECTIONS_MAX])
            )

    assert ends == [b""] * (SILENT - CONNECTIONS_MAX)


async def test_a_handshake_has_a_limit(certificates: Certificates, tmp_path: Path) -> None:
    """A handshake, and the head after it, must end within the time for a head; an idle connection may stay open."""
    first = hello(client_context(certificates.authority.file))
    async with secured(certificates, tmp_path, UGC_GATEWAY_HEAD_SECONDS_MAX="1") as gateway:
        with contextlib.ExitStack() as opened:
            silent = [
                opened.enter_context(socket.create_connection(gateway.address, WAIT_SECONDS_MAX)) for _ in range(3)
            ]
            silent[1].sendall(first[:40])
            silent.append(await asyncio.to_thread(opened.enter_context, secured_socket(gateway)))
            ends = await asyncio.gather(*(asyncio.to_thread(received, each) for each in silent))

    assert ends == [b""] * len(silent)


async def test_a_client_that_does_not_read(certificates: Certificates, tmp_path: Path) -> None:
    """Its connection is reset and its response dropped, in whichever buffer that is; others are served."""
    async with secured(certificates, tmp_path, UGC_GATEWAY_ANSWER_SECONDS_MAX="1") as gateway:
        with await asyncio.to_thread(secured_socket, gateway, 4_096) as client:
            await asyncio.to_thread(client.sendall, PAGE)
            await until(lambda: is_cut(client))
            assert await asyncio.to_thread(gateway.ask, "GET", "/healthz") == 200
        assert [line["level"] for line in gateway.lines("a client did not read its response")] == ["info"]


async def test_a_client_that_reads_slowly(certificates: Certificates, tmp_path: Path) -> None:
    """A client that reads steadily gets the whole response, however many periods that takes."""
    size = 0
    async with secured(certificates, tmp_path, UGC_GATEWAY_ANSWER_SECONDS_MAX="1") as gateway:
        with await asyncio.to_thread(secured_socket, gateway, 4_096) as client:
            await asyncio.to_thread(client.sendall, PAGE)
            while piece := await asyncio.to_thread(client.recv, 65_536):
                before, size = size, size + len(piece)
                if before // 500_000 < size // 500_000:
                    await asyncio.sleep(0.6)  # slower than it is written

    assert size > SCRIPT_BYTES_MIN


async def test_a_client_that_does_not_close(certificates: Certificates, tmp_path: Path) -> None:
    """A client that has its response, and leaves its side of TLS open, does not keep the connection."""
    async with secured(certificates, tmp_path, UGC_GATEWAY_ANSWER_SECONDS_MAX="1") as gateway:
        with await asyncio.to_thread(secured_socket, gateway) as client:
            await asyncio.to_thread(client.sendall, GET.replace(b"Host", b"Connection: close\r\nHost"))
            await until(lambda: is_cut(client))


async def test_refused_bodies(certificates: Certificates, tmp_path: Path) -> None:
    """A client that is still sending a body which is too large gets the response that refuses it."""
    async with secured(certificates, tmp_path, UGC_GATEWAY_BODY_BYTES_MAX="100000") as gateway:
        assert await asyncio.to_thread(gateway.ask, "POST", "/api/v1/produce", b"a" * 2_000_000) == 413


async def test_files_change(certificates: Certificates, tmp_path: Path) -> None:
    """New files are used for new connections, by all workers; open ones go on, and a half-written file harms none."""
    renewed = certificates.authority.issue("renewed")
    async with secured(certificates, tmp_path, UGC_GATEWAY_WORKERS="2") as gateway:
        await until(lambda: len(workers(gateway.lines("serving"))) == 2)
        before = {await asyncio.to_thread(presented, gateway) for _connection in range(20)}
        with await asyncio.to_thread(secured_socket, gateway) as client:
            certificates.server.certificate.write_bytes(renewed.certificate.read_bytes()[:100])
            await until(lambda: len(workers(gateway.lines("reloading TLS files failed"))) == 2)
            assert {await asyncio.to_thread(presented, gateway) for _connection in range(20)} == before
            certificates.server.replace_with(renewed)
            await until(lambda: len(workers(gateway.lines("TLS files were reloaded"))) == 2)
            after = {await asyncio.to_thread(presented, gateway) for _connection in range(20)}
            await asyncio.to_thread(client.sendall, GET)
            assert b" 200 " in await asyncio.to_thread(received, client)

    assert len(before) == len(after) == 1
    assert before != after


async def test_a_former_authority(certificates: Certificates, tmp_path: Path) -> None:
    """A client of an authority that has left the file is refused, although it has a session to resume."""
    bundle = certificates.bundle(certificates.authority, certificates.other_authority)
    async with secured(certificates, tmp_path, authority=bundle) as gateway:
        with await asyncio.to_thread(secured_socket, gateway) as client:
            await asyncio.to_thread(client.sendall, GET)
            await asyncio.to_thread(received, client)
            session = client.session
        with await asyncio.to_thread(secured_socket, gateway, 65_536, session) as client:
            assert client.session_reused
        certificates.bundle(certificates.other_authority)
        await until(lambda: bool(gateway.lines("TLS files were reloaded")))
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.to_thread(resumed, gateway, session)


def resumed(gateway: Served, session: ssl.SSLSession | None) -> bytes:
    """Return what a gateway sends to a client that offers to resume a session."""
    with secured_socket(gateway, 65_536, session) as client:
        client.sendall(GET)
        answer = client.recv(65_536)
        if not answer:
            raise ConnectionError("the gateway closed the connection")
        return answer


def is_cut(client: socket.socket) -> bool:
    """Return whether the server has reset or closed the connection."""
    return client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] in TCP_STATES_CLOSED


def workers(lines: list[dict[str, object]]) -> set[object]:
    """Return the workers that have written lines."""
    return {line["worker"] for line in lines}
