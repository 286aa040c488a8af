"""The fast lane answers as the usual path does, byte for byte, and takes nothing that the parser reads differently."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import random
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from common.settings import Address
from gateway.lane import Lane
from local.processes.ports import free_port
from tests.contract import raw_service as raw
from tests.contract.conftest import Generated
from tests.contract.endpoints import TRACE, WAIT_SECONDS_MAX, gateway, ingest, open_connection
from tests.contract.test_gateway_records import load
from tests.support.inputs.golden import cases, expanded
from tests.support.inputs.http_heads import BODY, CURL, PROXY, request_of

ORIGIN = "https://cinema.example"
PATHS = {"Produce": "/api/v1/produce", "BatchProduce": "/api/v1/batch_produce"}
SEED = 20_261_127
# What differs between two responses to the same request.
GENERATED = re.compile(rb"(Date|X-Request-Id): [^\r]*")


async def exchange(url: str, *requests: bytes) -> list[bytes]:
    """Send requests on one connection, each after the response to the one before; return the responses."""
    reader, writer = await open_connection(url)
    responses = []
    async with asyncio.timeout(WAIT_SECONDS_MAX):
        for request in requests:
            writer.write(request)
            responses.append(await response_from(reader))
    writer.close()
    return responses


async def response_from(reader: asyncio.StreamReader) -> bytes:
    """Read one response, with its request id and date left out."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"Content-Length: (\d+)", head)
    body = await reader.readexactly(int(length[1])) if length else b""
    return GENERATED.sub(rb"\1", head) + body


@contextlib.contextmanager
def counting() -> Iterator[list[bool]]:
    """Yield which requests the lane was offered, and whether it took them."""
    taken: list[bool] = []
    begin = Lane.begin

    def counted(lane: Lane, connection: Any, data: bytes) -> bool:
        taken.append(begin(lane, connection, data))
        return taken[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Lane, "begin", counted)
        yield taken


async def until_begun(taken: list[bool]) -> None:
    """Wait until the lane was offered a request."""
    async with asyncio.timeout(WAIT_SECONDS_MAX):
        while not taken:  # noqa: ASYNC110 -- the gateway has no event for it
            await asyncio.sleep(0.001)


@contextlib.asynccontextmanager
async def both(port: int, **changes: Any) -> AsyncIterator[tuple[str, str]]:
    """Serve one gateway with the lane and one without it, in front of the same service."""
    async with (
        gateway(port, gateway_lane=True, **changes) as one,
        gateway(port, gateway_lane=False, **changes) as other,
    ):
        yield one, other


async def assert_alike(urls: tuple[str, str], requests: list[bytes], taken_min: int) -> None:
    """Assert that both gateways answer alike, and that the lane has taken so many of the requests or more."""
    with counting() as taken:
        mine, usual = [await exchange(url, *requests) for url in urls]
    for request, one, other in zip(requests, mine, usual, strict=True):
        assert one == other, request
    assert sum(taken) >= taken_min, (sum(taken), len(requests))


HEADERS = [
    b"", b"X-Strict: true\r\n", b"Grpc-Timeout: 5S\r\n", b"Grpc-Timeout: 1x\r\n", b"Authorization: Bearer a\r\n",
    b"Origin: https://cinema.example\r\n", b"Origin: https://other.example\r\n", b"X-Request-Id: mine\r\n",
    b"X-Request-Id: m y\r\n", b"Traceparent: " + TRACE.encode() + b"\r\n", b"X-Forwarded-For: 203.0.113.7\r\n",
    b"Pragma: no-cache\r\n", b"Content-Type: application/x-www-form-urlencoded\r\n", b"Expect: 100-nothing\r\n",
    b"Content-Encoding: gzip\r\n", b"Cookie: a=b\r\n", b"TE: trailers\r\n", b"Content-Encoding: br\r\n",
]  # fmt: skip
BODIES = [
    b"{}", b"", b" ", b"[", b"[]", b"null", b"1", BODY, b'{"event_id": 1}', b'{"mood": "x", "payload": {"y": 1}}',
    b"\x1f\x8bxx", b'{"event_id": "\\u0436"}', b'{"event_id": "\xd0\xb6"}', b'{"event_id": "\xff"}',
    b"\xef\xbb\xbf{}", b"[{}, {}]", b" " * 5_000,
]  # fmt: skip
LINES = [
    b"POST /api/v1/produce",
    b"POST /api/v1/batch_produce",
    b"GET /api/v1/produce",
    b"POST /api/v1/nothing",
    b"GET /healthz",
]


def combined() -> list[bytes]:
    """Return requests of every line with every body, and every header with some bodies."""
    chance = random.Random(SEED)
    varied = [(line, header, body) for line in LINES for header in HEADERS[:2] for body in BODIES]
    varied += [(LINES[0], header, body) for header in HEADERS for body in chance.sample(BODIES, 6)]
    return [
        line + b" HTTP/1.1\r\nHost: a\r\n" + header + b"Content-Length: %d\r\n\r\n" % len(body) + body
        for line, header, body in varied
    ]


async def test_combined_requests_are_answered_alike() -> None:
    """Methods, paths, headers and bodies in combination: both paths answer alike, each request on one connection."""
    port = free_port()
    async with ingest(port), both(port, gateway_cors_origins=(ORIGIN,)) as urls:
        requests = combined()
        with counting() as taken:
            for request in requests:
                healthy = b"GET /healthz HTTP/1.1\r\nHost: a\r\nX-Request-Id: 1\r\n\r\n"
                one, other = [await exchange(url, healthy, request) for url in urls]
                assert [without_identity(each) for each in one] == [without_identity(each) for each in other], request
        assert sum(taken) > len(requests) / 3


def without_identity(response: bytes) -> bytes:
    """Return a response without the request id that the fake service sees."""
    return re.sub(rb'"x-request-id": "[^"]*"', b"", response)


async def test_golden_requests_are_answered_alike() -> None:
    """Both paths answer the requests of the golden file alike."""
    port = free_port()
    requests = [
        request_of(PROXY, json.dumps(expanded(case.request)).encode(), b"POST " + PATHS[case.call].encode())
        for case in cases()
        if case.request is not None
    ]
    requests = [request for request in requests if len(request) < 60_000]
    async with ingest(port), both(port, gateway_body_bytes_max=2_000_000) as urls:
        await assert_alike(urls, requests, len(requests) - 10)


def recorded() -> list[bytes]:
    """Return the requests recorded with grpc-gateway."""
    requests = []
    for record in load():
        sent = record["request"]
        body = base64.b64decode(sent["body_base64"]) if "body_base64" in sent else (sent.get("body") or "").encode()
        pairs = [("Host", "a"), ("X-Request-Id", "1"), *sent["headers"], ("Content-Length", str(len(body)))]
        head = "".join(f"{name}: {value}\r\n" for name, value in pairs)
        requests.append(f"{sent['method']} {sent['path']} HTTP/1.1\r\n{head}\r\n".encode() + body)
    return requests


async def test_recorded_requests_are_answered_alike(events: Generated, events_service: Address) -> None:
    """Both paths answer the recorded requests alike, errors with details and metadata of a service included."""
    requests = [
        request
        for request in recorded()
        if not request.startswith((b"HEAD ", b"OPTIONS ")) and b"\r\nTE: " not in request
    ]
    descriptors = {
        "gateway_descriptors": events.descriptors,
        "has_discovery": False,
        "gateway_body_bytes_max": 8_000_000,
    }
    async with both(events_service.port, **descriptors) as urls:
        with counting() as taken:
            for request in requests:
                healthy = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
                one, other = [await exchange(url, healthy, request) for url in urls]
                assert steady(one[1]) == steady(other[1]), request
    assert sum(taken) > len(requests) / 2


def steady(response: bytes) -> bytes:
    """Return a response without the name of the gateway that the service saw."""
    return re.sub(rb"127\.0\.0\.1:\d+", b"", response)


async def test_requests_at_once_keep_their_order() -> None:
    """Responses come in the order of the requests, also when the second arrives while the first waits."""
    port = free_port()
    slow = request_of(CURL, b'{"payload": {"event": "slow"}}')
    quick = request_of(CURL)
    async with ingest(port), gateway(port, gateway_timeout_seconds=1) as url:
        reader, writer = await open_connection(url)
        writer.write(quick)
        await response_from(reader)
        with counting() as taken:
            writer.write(slow)
            await until_begun(taken)
            writer.write(quick + quick)
            async with asyncio.timeout(WAIT_SECONDS_MAX):
                first = [(await response_from(reader)).split(b" ", 2)[1] for _request in range(3)]
        writer.close()
    assert (first, taken) == ([b"504", b"201", b"201"], [True])


async def test_a_half_closed_connection_is_answered() -> None:
    """A client that ends its side while its request is on the lane gets the response, and the connection closes."""
    port = free_port()
    async with ingest(port), gateway(port, gateway_timeout_seconds=1) as url:
        reader, writer = await open_connection(url)
        with counting() as taken:
            writer.write(request_of(CURL, b'{"payload": {"event": "slow"}}'))
            await until_begun(taken)
            writer.write_eof()
            answer = await asyncio.wait_for(reader.read(), WAIT_SECONDS_MAX)
        writer.close()
    assert taken == [True]
    assert b"HTTP/1.1 504 " in answer
    assert b"\r\nConnection: close\r\n" in answer


@pytest.mark.parametrize("status", [b"200", b"204", b"205", b"207", b"299", b"0201", b"404"])
async def test_the_status_of_a_service(status: bytes) -> None:
    """A success status that the service sets is written alike, with and without a body."""
    async with (
        raw.raw_service(raw.answered(b"", (), ((b"x-http-code", status),))) as port,
        both(port, has_discovery=False) as urls,
    ):
        await assert_alike(urls, [request_of(CURL)] * 2, 1)


@pytest.mark.parametrize(
    "pairs", [[(b"x-a", b"b"), (b"x-a", b"c")], [(b"x-\xc3", b"b")], [(b"x-http-code", b"201"), (b"x-bin-bin", b"AAE")]]
)
async def test_metadata_of_a_service(pairs: list[tuple[bytes, bytes]]) -> None:
    """Metadata before and after the message is written alike."""
    for initial, trailing in ((pairs, []), ([], pairs)):
        async with (
            raw.raw_service(raw.answered(b"", initial, trailing)) as port,
            both(port, has_discovery=False) as urls,
        ):
            await assert_alike(urls, [request_of(CURL)] * 2, 1)
