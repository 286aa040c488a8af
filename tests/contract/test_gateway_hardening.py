"""What every answer says beside its body: no guessing, no versions, no frames, and challenges that are valid."""

from __future__ import annotations

import re

import pytest

from local.processes.ports import free_port
from tests.contract import raw_service as raw
from tests.contract.endpoints import gateway, ingest, open_connection, post

PAGES = ("/api/openapi", "/api/demo")
# RFC 9110 section 11.2 and RFC 6750 section 3, with quoted strings alone.
CHALLENGE = re.compile(r'Bearer [a-z_]+="[ !#-\[\]-~]*"(?:, [a-z_]+="[ !#-\[\]-~]*")*')
REQUESTS = {
    "page": b"GET /api/openapi HTTP/1.1",
    "demonstration": b"GET /api/demo HTTP/1.1",
    "document": b"GET /api/openapi.json HTTP/1.1",
    "script": b"HEAD /api/openapi/scalar.js HTTP/1.1",
    "health": b"GET /healthz HTTP/1.1",
    "readiness": b"GET /readyz HTTP/1.1",
    "event": b"POST /api/v1/produce HTTP/1.1",
    "trailers": b"POST /api/v1/batch_produce HTTP/1.1\r\nTE: trailers",
    "unknown path": b"GET /nothing HTTP/1.1",
    "wrong method": b"GET /api/v1/produce HTTP/1.1",
    "preflight": b"OPTIONS /healthz HTTP/1.1\r\nOrigin: https://a.example\r\nAccess-Control-Request-Method: GET",
    "malformed": b"GET / HTTP/1.1\r\nno colon",
    "another version": b"GET / HTTP/2.0",
    "long header": b"GET / HTTP/1.1\r\nX-A: " + b"a" * 40_000,
}


@pytest.mark.parametrize("name", REQUESTS)
async def test_every_answer(name: str) -> None:
    """Browsers guess nothing, and nobody learns a version."""
    port = free_port()
    async with (
        ingest(port),
        gateway(port, gateway_demo=True, gateway_cors_origins="https://a.example") as url,
    ):
        reader, writer = await open_connection(url)
        writer.write(REQUESTS[name] + b"\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        await reader.read()
        writer.close()
        await writer.wait_closed()

    assert "\r\nx-content-type-options: nosniff\r\n" in head
    assert re.findall(r"\r\nserver: (.*)\r\n", head) == ["gateway"]
    assert not re.search("aiohttp|python|grpc/", head)


@pytest.mark.parametrize("path", PAGES)
async def test_pages_are_not_framed(path: str) -> None:
    """No page of another site shows one of these in a frame, and none sends a form or moves its addresses."""
    port = free_port()
    async with ingest(port), gateway(port, gateway_demo=True) as url:
        reader, writer = await open_connection(url)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        await reader.read()
        writer.close()
        await writer.wait_closed()
    policy = re.findall("Content-Security-Policy: (.*)\r\n", head)

    assert len(policy) == 1
    for rule in ("default-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "object-src 'none'"):
        assert rule in policy[0]


@pytest.mark.parametrize(
    "message",
    [
        b"token: exp is over",
        b'a "quoted" text',
        b"back\\slash",
        b"%D0%BC%D0%BE%D0%B9",
        b"a%0D%0AX-Forged: b",
        b"%00%1B",
        b"",
        b"m" * 2_000,
    ],
)
@pytest.mark.parametrize("token", ["Bearer t", None])
async def test_challenges(message: bytes, token: str | None) -> None:
    """A 401 has one challenge, valid whatever the service says; only who sent a token learns what is wrong with it."""
    service = raw.answered(b"", (), ((b"grpc-message", message),), status=16)
    given = {} if token is None else {"Authorization": token}
    async with raw.raw_service(service) as port, gateway(port) as url:
        status, answer, headers = await post(f"{url}/api/v1/produce", b"{}", **given)

    assert (status, answer["code"]) == (401, 16)
    challenges = headers.getall("WWW-Authenticate")
    assert len(challenges) == 1
    assert CHALLENGE.fullmatch(challenges[0])
    assert len(challenges[0]) < 300
    assert ('error="invalid_token"' in challenges[0]) == (token is not None)
    assert "X-Forged" not in headers
