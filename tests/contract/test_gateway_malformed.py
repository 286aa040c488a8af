"""Malformed and ambiguous HTTP is refused at once and the connection closed, with both parsers of aiohttp."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from typing import NamedTuple

import aiohttp.web_protocol
import pytest
from aiohttp import http_exceptions
from aiohttp.http_parser import HttpRequestParserC, HttpRequestParserPy

from gateway.http.refusals import HEADERS_MAX, LINE_BYTES_MAX, TEXTS
from local.processes.ports import free_port
from tests.contract.endpoints import WAIT_SECONDS_MAX, gateway, ingest, open_connection
from tests.contract.malformed import BODIES, CHUNKED, CHUNKS, HEADS, LINE, NEXT, POST, SECRET, TWO

STATUS_LINE = re.compile(rb"HTTP/[0-9.]+ [0-9]{3} ")


class Received(NamedTuple):
    """What arrived until the server closed the connection."""

    status: int
    head: bytes
    body: bytes
    answers: int


@pytest.fixture(params=[HttpRequestParserC, HttpRequestParserPy], ids=["C", "Python"])
async def url(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """Serve with each of aiohttp's parsers; the one in C is used wherever it is installed."""
    monkeypatch.setattr(aiohttp.web_protocol, "HttpRequestParser", request.param)
    port = free_port()
    async with ingest(port), gateway(port) as url:
        yield url


async def sent(url: str, *parts: bytes) -> Received:
    """Send a request in parts, and read until the server closes the connection."""
    reader, writer = await open_connection(url)
    received = b""
    try:
        async with asyncio.timeout(WAIT_SECONDS_MAX):
            for part in parts:
                writer.write(part)
                await asyncio.sleep(
                    0.005
                )  # so that the parts usually arrive one by one; the result must be the same either way
            try:
                while chunk := await reader.read(65_536):
                    received += chunk
            except ConnectionError:
                assert received  # closed while the rest of the request was being sent
    finally:
        writer.close()
    head, _, body = received.partition(b"\r\n\r\n")
    return Received(int(head.split()[1]), head, body, len(STATUS_LINE.findall(received)))


# What the parser in Python accepts: numbers of any size, and any byte in an extension, which is ignored.
TAKEN_IN_PYTHON = {"length beyond all", "beyond all", "NUL in an extension"}


def skip_in_python(request: pytest.FixtureRequest, name: str) -> None:
    """Skip a case that only the parser in C refuses, which is used wherever it is installed."""
    if name in TAKEN_IN_PYTHON and "Python" in request.node.callspec.id:
        pytest.skip("aiohttp's parser in Python takes it, which is used where the one in C is missing")


@pytest.mark.parametrize("name", HEADS)
async def test_a_malformed_head(request: pytest.FixtureRequest, url: str, name: str) -> None:
    """A malformed head is one 400 with google.rpc.Status; the connection is closed, and the rest not answered."""
    skip_in_python(request, name)
    received = await sent(url, HEADS[name], NEXT)

    assert (received.status, received.answers) == (400, 1)
    assert json.loads(received.body)["code"] == 3
    assert json.loads(received.body)["message"].startswith("malformed request: ")


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("parts", ["in one", "after the head", "bytewise"])
async def test_a_malformed_body(request: pytest.FixtureRequest, url: str, name: str, parts: str) -> None:
    """A malformed body is 400 at once, in whichever packet the fault is, and nothing after it is answered."""
    skip_in_python(request, name)
    body = BODIES[name]
    pieces = [body] if parts != "bytewise" else [body[index : index + 1] for index in range(len(body))]
    received = await sent(url, *([CHUNKED + body] if parts == "in one" else [CHUNKED, *pieces]), NEXT)

    assert (received.status, received.answers) == (400, 1)
    assert json.loads(received.body)["message"].startswith("malformed request: ")


@pytest.mark.parametrize(
    "line",
    [
        b"GET /healthz HTTP/0.9",
        b"GET /healthz HTTP/1.2",
        b"GET /healthz HTTP/1.10",
        b"GET /healthz HTTP/2.0",
        b"GET /healthz HTTP/3.0",
        b"GET /healthz HTTP/9.9",
        b"GET /healthz HTTP/11.1",
        b"PRI * HTTP/2.0",
        b"POST /api/v1/produce HTTP/2.0",
    ],
)
@pytest.mark.parametrize("parts", ["in one", "after the line"])
async def test_another_version(url: str, line: bytes, parts: str) -> None:
    """Another version of HTTP is 505 in HTTP/1.x, and not served."""
    rest = b"\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}"
    received = await sent(url, *([line + rest] if parts == "in one" else [line + b"\r\n", rest[2:]]))

    assert (received.status, received.answers) == (505, 1)
    assert received.head.startswith(b"HTTP/1.")


@pytest.mark.parametrize("request_", [b"GET /healthz\r\n", b"GET /healthz\r\n\r\n", b"POST /api/v1/produce\r\n{}"])
async def test_version_0_9(url: str, request_: bytes) -> None:
    """A request line without a version is refused as soon as it ends, before any header."""
    assert (await sent(url, request_)).status in (400, 505)


@pytest.mark.parametrize("name", [b"Authorization", b"Cookie", b"X-Anything"])
@pytest.mark.parametrize("parts", [1, 3, 50])
async def test_a_long_header(url: str, name: bytes, parts: int, capsys: pytest.CaptureFixture[str]) -> None:
    """A header above the limit is 431 with its name and the limit, without its value in response or log."""
    fits = SECRET * 2_000
    assert len(fits) < LINE_BYTES_MAX - 100
    good = POST + name + b": " + fits + b"\r\nConnection: close\r\n" + TWO
    assert (await sent(url, *cut(good, parts))).status == 201
    received = await sent(url, *cut(good.replace(fits, SECRET * 2_100), parts))

    assert (received.status, received.answers) == (431, 1)
    message = json.loads(received.body)["message"]
    assert message == f"the header {name.decode()} is longer than {LINE_BYTES_MAX} bytes"
    assert SECRET.decode() not in capsys.readouterr().out + message


@pytest.mark.parametrize("parts", [1, 3, 50])
async def test_a_long_target(url: str, parts: int, capsys: pytest.CaptureFixture[str]) -> None:
    """A target above the limit is 414 with the limit, without any part of it in response or log."""
    fits = SECRET * 2_000
    good = b"GET /healthz?" + fits + b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    assert (await sent(url, *cut(good, parts))).status == 200
    capsys.readouterr()  # at level debug a request that is served is logged with its path
    received = await sent(url, *cut(good.replace(fits, SECRET * 2_100), parts))

    assert (received.status, received.answers) == (414, 1)
    message = json.loads(received.body)["message"]
    assert message == f"the request target is longer than {LINE_BYTES_MAX} bytes"
    assert SECRET.decode() not in capsys.readouterr().out + message


async def test_many_headers(url: str) -> None:
    """More headers than the limit are 431 with the limit."""
    headers = b"".join(b"X-%d: a\r\n" % number for number in range(HEADERS_MAX - 4))
    assert (await sent(url, POST + headers + b"Connection: close\r\n" + TWO)).status == 201
    for more in (5, 100, 2_000):
        received = await sent(url, POST + headers + b"X-More: a\r\n" * more + TWO)
        assert (received.status, str(HEADERS_MAX) in json.loads(received.body)["message"]) == (431, True)


async def test_a_head_without_end(url: str) -> None:
    """The size of the head as a whole is limited too."""
    received = await sent(url, POST, *[b"X-A: " + b"a" * 30_000 + b"\r\n"] * 5, b"Content-Length: 2")

    assert received.status == 431


async def test_a_long_name(url: str) -> None:
    """The error of a header whose name is too long does not quote the name."""
    received = await sent(url, POST + SECRET * 3_000 + b": a\r\n" + TWO)

    assert (received.status, SECRET in received.body) == (431, False)


async def test_expectations_of_http_1_0(url: str) -> None:
    """Expectations are ignored under HTTP/1.0, which has no interim responses."""
    for expectation in (b"100-continue", b"more"):
        received = await sent(url, POST.replace(b"1.1", b"1.0") + b"Expect: " + expectation + b"\r\n" + TWO)
        assert (received.status, received.answers) == (201, 1)


@pytest.mark.parametrize(
    "host",
    [
        b"a",
        b"a.b",
        b"a:8000",
        b"a:",
        b"127.0.0.1",
        b"127.0.0.1:8000",
        b"[::1]",
        b"[::1]:8000",
        b"",
        b"a_b",
        b"%41",
        b"A-1.",
    ],
)
async def test_a_good_host(url: str, host: bytes) -> None:
    """Valid hosts are names, IPv4 and IPv6 addresses, with a port or without, and the empty host."""
    received = await sent(url, LINE + b"Host: " + host + b"\r\nConnection: close\r\n" + TWO)

    assert received.status == 201


@pytest.mark.parametrize(
    "request_",
    [
        b"\r\n\r\n" + POST + b"Connection: close\r\n" + TWO,
        CHUNKED.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + CHUNKS,
        CHUNKED.replace(b"chunked\r\n\r\n", b"CHUNKED\r\nConnection: close\r\n\r\n") + CHUNKS,
        CHUNKED.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + b"1;a=b\r\n{\r\n1\r\n}\r\n0\r\nX-T: a\r\n\r\n",
        LINE.replace(b"1.1", b"1.0") + TWO,
        POST + b"X-A: caf\xe9 \xd0\xbc\tb\r\nConnection: close\r\n" + TWO,
    ],
    ids=["empty lines first", "chunks", "CHUNKED", "extensions and trailers", "HTTP/1.0 without Host", "odd values"],
)
@pytest.mark.parametrize("parts", [1, 20])
async def test_what_is_allowed(url: str, request_: bytes, parts: int) -> None:
    """Everything that HTTP allows is accepted."""
    assert (await sent(url, *cut(request_, parts))).status == 201


def test_every_class_of_the_library_has_a_text() -> None:
    """Every exception that aiohttp defines for a request has a text of the gateway."""
    known = {
        kind
        for kind in vars(http_exceptions).values()
        if isinstance(kind, type) and issubclass(kind, http_exceptions.BadHttpMessage)
    }
    base = {http_exceptions.BadHttpMessage, http_exceptions.HttpBadRequest, http_exceptions.LineTooLong}

    assert {kind for kind in known - base if not issubclass(kind, tuple(TEXTS))} == set()


def cut(data: bytes, parts: int) -> list[bytes]:
    """Split bytes into parts."""
    size = -(-len(data) // parts)
    return [data[start : start + size] for start in range(0, len(data), size)]
