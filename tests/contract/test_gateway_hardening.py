"""What every response carries besides its body: the request id once, no versions, no frames, valid challenges."""

from __future__ import annotations

import re

import pytest

from gateway.backend import connecting
from gateway.metrics import GatewayMetrics
from gateway.process import build
from gateway.settings import GatewaySettings
from local.processes.ports import free_port
from tests.contract import raw_service as raw
from tests.contract.endpoints import gateway, ingest, open_connection, post

# A field that names the request id, whatever its prefix.
ID_FIELD = re.compile(r"^[a-z-]*x-request-id: (.*)\r$", re.IGNORECASE | re.MULTILINE)
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
    "event after 100 Continue": b"POST /api/v1/produce HTTP/1.1\r\nExpect: 100-continue",
    "event under HTTP/1.0": b"POST /api/v1/produce HTTP/1.0",
    "trailers": b"POST /api/v1/batch_produce HTTP/1.1\r\nTE: trailers",
    "unknown path": b"GET /nothing HTTP/1.1",
    "wrong method": b"GET /api/v1/produce HTTP/1.1",
    "wrong method of a page": b"POST /healthz HTTP/1.1",
    "malformed path": b"GET /%zz HTTP/1.1",
    "unsupported encoding": b"POST /api/v1/produce HTTP/1.1\r\nContent-Encoding: br",
    "unknown expectation": b"POST /api/v1/produce HTTP/1.1\r\nExpect: nothing",
    "preflight": b"OPTIONS /healthz HTTP/1.1\r\nOrigin: https://a.example\r\nAccess-Control-Request-Method: GET",
}
MALFORMED = {
    "header without a colon": b"GET / HTTP/1.1\r\nno colon",
    "another version": b"GET / HTTP/2.0",
    "long header": b"GET / HTTP/1.1\r\nX-A: " + b"a" * 40_000,
    "two lengths": b"POST /api/v1/produce HTTP/1.1\r\nContent-Length: 1",
}


async def responses(url: str, request: bytes) -> list[str]:
    """Send the head of a request; return what arrives until the end, one text for each response."""
    reader, writer = await open_connection(url)
    end = b"\r\nHost: a\r\nX-Request-Id: mine\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    writer.write(request + end)
    text = (await reader.read()).decode()
    writer.close()
    await writer.wait_closed()
    return re.split(r"(?<=\r\n)(?=HTTP/1\.[01] \d{3} )", text)


def assert_anonymous(response: str) -> None:
    """Assert that a response does not name the software behind it, and that browsers must not guess its type."""
    head = response.partition("\r\n\r\n")[0].lower() + "\r\n"

    assert "\r\nx-content-type-options: nosniff\r\n" in head
    assert re.findall(r"\r\nserver: (.*)\r\n", head) == ["gateway"]
    assert not re.search("aiohttp|python|grpc/", head)


@pytest.mark.parametrize("name", [*REQUESTS, *MALFORMED])
async def test_every_response(name: str) -> None:
    """Every response has the request id in one header or trailer, and names no version of a library."""
    port = free_port()
    async with ingest(port), gateway(port, gateway_demo=True, gateway_cors_origins="https://a.example") as url:
        *interim, final = await responses(url, REQUESTS.get(name) or MALFORMED[name])

    assert_anonymous(final)
    ids = ID_FIELD.findall(final)
    assert len(ids) == 1
    assert ids[0] == "mine" if name in REQUESTS else re.fullmatch("[0-9a-f]{32}", ids[0])
    # An interim response carries nothing: its fields would be those of no response.
    assert interim == (["HTTP/1.1 100 Continue\r\n\r\n"] if "100" in name else [])


async def test_every_page() -> None:
    """Every page of the gateway has the request id once and names no version, with GET and HEAD."""
    port = free_port()
    settings, metrics = GatewaySettings(gateway_demo=True), GatewayMetrics()
    async with ingest(port), gateway(port, gateway_demo=True) as url, connecting(settings, metrics) as backend:
        for path in build(settings, backend, metrics)[0].api.pages:
            for method in ("GET", "HEAD"):
                final = (await responses(url, f"{method} {path} HTTP/1.1".encode()))[-1]

                assert_anonymous(final)
                assert ID_FIELD.findall(final) == ["mine"], path


@pytest.mark.parametrize("path", PAGES)
async def test_pages_are_not_framed(path: str) -> None:
    """No other site can show one of these pages in a frame; they send no forms and change no base address."""
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
    """A 401 has one valid challenge, whatever the service's message; only clients that sent a token get the reason."""
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
