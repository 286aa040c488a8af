"""Every request is counted once, with its status and a route of a limited set, whichever way it goes."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from google.rpc import code_pb2

from common.metrics import Value
from common.settings import Address
from gateway.errors import HTTP_STATUSES
from gateway.metrics import GatewayMetrics
from local.processes.ports import free_port
from tests.contract import raw_service as raw
from tests.contract.conftest import Generated
from tests.contract.endpoints import BODY_BYTES_MAX, WAIT_SECONDS_MAX, gateway, ingest, open_connection, post
from tests.contract.malformed import BODIES, CHUNKED, HEADS, POST
from tests.contract.test_gateway_lane import ORIGIN, combined, recorded
from tests.support.inputs.descriptors import HEAD, compiled, service
from tests.support.inputs.http_heads import CURL, request_of

PRODUCE = "/api/v1/produce"
SLOW = b'{"payload": {"event": "slow", "event_data": "%b"}}' % (b"a" * 1_000)
# The status line of a response that is not `100 Continue`.
FINAL = re.compile(rb"HTTP/1.[01] ([2-5]\d\d) ")
# Beyond the requests that other tests define: a preflight, sizes, lengths, headers, expectations, methods.
UNUSUAL = [
    b"OPTIONS %b HTTP/1.1\r\nHost: a\r\nOrigin: %b\r\nAccess-Control-Request-Method: POST\r\n\r\n" % (path, origin)
    for path, origin in ((b"/api/v1/produce", ORIGIN.encode()), (b"/healthz", ORIGIN.encode()), (b"/a", b"https://a.example"))
] + [
    b"PROPFIND /api/v1/produce HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}",
    b"HEAD /api/openapi HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
    b"GET /%ff HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: a\r\nX-Large: " + b"a" * 40_000 + b"\r\n\r\n",
    b"GET /healthz HTTP/2.0\r\nHost: a\r\n\r\n",
    request_of(CURL, b" " * (BODY_BYTES_MAX + 1)),
    request_of(CURL, SLOW),
    CHUNKED + b"2\r\n{}\r\n0\r\n\r\n",
]  # fmt: skip
# A body whose end never comes, on a connection that stays open.
STALLED = POST + b"Content-Length: 2\r\n\r\n{"


class Counted(NamedTuple):
    """A gateway with its metrics."""

    url: str
    metrics: GatewayMetrics

    def requests(self) -> Counter[tuple[str, str, int]]:
        """Return the counts of requests by method, route and status."""
        children = self.metrics.durations.children()
        return Counter({(method, route, int(status)): sum(one.counts) for (method, route, status), one in children})

    def statuses(self) -> Counter[int]:
        """Return the counts of requests by status."""
        found: Counter[int] = Counter()
        for (_method, _route, status), count in self.requests().items():
            found[status] += count
        return found


async def status(url: str, data: bytes) -> int:
    """Send bytes on a connection of their own; return the status of the first response."""
    reader, writer = await open_connection(url)
    received = b""
    async with asyncio.timeout(WAIT_SECONDS_MAX):
        writer.write(data)
        while not (found := FINAL.search(received)):
            piece = await reader.read(65_536)
            assert piece, (data, received)
            received += piece
    writer.close()
    return int(found[1])


async def until_equal(read: Callable[[], object], wanted: object) -> None:
    """Wait until a reading is as wanted."""
    async with asyncio.timeout(WAIT_SECONDS_MAX):
        while read() != wanted:  # noqa: ASYNC110 -- the gateway has no event for it
            await asyncio.sleep(0.001)


def value(found: Value) -> float:
    """Return a number, of which a type checker does not assume that it stays."""
    return found.value


@pytest.fixture(params=[True, False], ids=["lane", "no lane"])
async def counted(request: pytest.FixtureRequest) -> AsyncIterator[Counted]:
    """Serve in front of the fake ingest, with and without the lane."""
    port, metrics = free_port(), GatewayMetrics()
    settings: dict[str, Any] = {
        "gateway_cors_origins": (ORIGIN,),
        "gateway_timeout_seconds": 0.5,
        "gateway_body_grace_seconds": 0.5,
    }
    async with ingest(port), gateway(port, metrics=metrics, gateway_lane=request.param, **settings) as url:
        yield Counted(url, metrics)


async def test_every_request_is_counted_once(counted: Counted) -> None:
    """Requests of calls and pages, preflights and refusals: the counts of each status are those of the responses.

    No route is the path of a request.
    """
    answered: Counter[int] = Counter()
    bodies = [CHUNKED + body for body in BODIES.values()]
    for data in [*combined(), *HEADS.values(), *bodies, *UNUSUAL, STALLED]:
        answered[await status(counted.url, data)] += 1
    pages = {"/healthz", "/api/openapi"}

    assert counted.statuses() == answered
    assert set(answered) >= {200, 201, 204, 207, 400, 403, 404, 405, 408, 413, 414, 415, 417, 431, 504, 505}
    assert {route for _method, route, _status in counted.requests()} == {
        "unmatched", PRODUCE, "/api/v1/batch_produce", *pages
    }  # fmt: skip
    assert ("OPTIONS", PRODUCE, 204) in counted.requests()
    assert ("_OTHER", "unmatched", 405) in counted.requests()


async def test_recorded_requests_are_counted_once(events: Generated, events_service: Address) -> None:
    """The recorded requests of another service, with errors and metadata, are counted once each."""
    metrics, answered = GatewayMetrics(), Counter[int]()
    chosen: dict[str, Any] = {"gateway_descriptors": events.descriptors, "gateway_body_bytes_max": 8_000_000}
    async with gateway(events_service.port, metrics=metrics, has_discovery=False, **chosen) as url:
        for request in recorded():
            answered[await status(url, request)] += 1

    assert Counted(url, metrics).statuses() == answered


@pytest.mark.parametrize("has_lane", [True, False])
async def test_a_route_is_a_template(tmp_path: Path, *, has_lane: bool) -> None:
    """Paths that match one template are one route, in calls and in preflights."""
    descriptors, metrics = tmp_path / "descriptors.binpb", GatewayMetrics()
    template = "/shops/{key=*/departments/**}"
    descriptors.write_bytes(compiled(shop=HEAD + service("Shop").replace("/shop", template)))
    chosen: dict[str, Any] = {"gateway_descriptors": descriptors, "gateway_cors_origins": (ORIGIN,)}
    preflight = b"Origin: %b\r\nAccess-Control-Request-Method: GET\r\n" % ORIGIN.encode()
    async with (
        raw.raw_service(raw.answered(b"", (), ())) as port,
        gateway(port, metrics=metrics, has_discovery=False, gateway_lane=has_lane, **chosen) as url,
    ):
        for number in range(3):
            path = b" /shops/%d/departments/%d" % (number, number)
            assert await status(url, b"GET" + path + b" HTTP/1.1\r\nHost: a\r\n\r\n") == HTTPStatus.OK
            assert await status(url, b"OPTIONS" + path + b" HTTP/1.1\r\nHost: a\r\n" + preflight + b"\r\n") == 204

    assert Counted(url, metrics).requests() == {("GET", template, 200): 3, ("OPTIONS", template, 204): 3}


@pytest.mark.parametrize("has_lane", [True, False])
@pytest.mark.parametrize("code", sorted({*HTTP_STATUSES} - {code_pb2.OK}))
async def test_failed_calls_are_counted_by_code(code: int, *, has_lane: bool) -> None:
    """A call that the service fails is a failure with the code that the client gets, and a request with its status."""
    metrics = GatewayMetrics()
    answer = raw.answered(b"", (), ((b"grpc-message", b"the service's own"),), code)
    async with (
        raw.raw_service(answer) as port,
        gateway(port, metrics=metrics, gateway_lane=has_lane, has_discovery=False) as url,
    ):
        status, body, _headers = await post(f"{url}{PRODUCE}", b"{}")
        counted = Counted(url, metrics)

    assert counted.requests() == {("POST", PRODUCE, status): 1}
    failures = {values[0]: number.value for values, number in metrics.call_failures.children()}
    assert failures == {code_pb2.Code.Name(body["code"]): 1}
    assert sum(metrics.call_seconds.counts) == 1


async def test_a_client_that_leaves_is_counted_as_499(counted: Counted) -> None:
    """The request of a client that leaves before the end of its body has the status 499."""
    _reader, writer = await open_connection(counted.url)
    writer.write(STALLED)
    await writer.drain()
    writer.close()

    await until_equal(counted.requests, {("POST", PRODUCE, 499): 1})


async def test_bodies_and_unknown_names(counted: Counted) -> None:
    """Sizes are those that were sent, and names are counted that the message does not have."""
    for body in (b'{"mood": 1}', b'{"mood": 1, "x": {}}', b"{}"):
        assert (await post(f"{counted.url}{PRODUCE}", body))[0] == HTTPStatus.CREATED

    assert value(counted.metrics.unknown_fields) == 3
    assert counted.metrics.body_bytes.total == 11 + 20 + 2
    assert sum(counted.metrics.body_bytes.counts) == 3


@pytest.mark.parametrize("has_lane", [True, False])
@pytest.mark.parametrize(
    ("reason", "limits"),
    [
        ("limit", {"gateway_concurrency_max": 1, "gateway_client_ratio_max": 1}),
        ("caller", {"gateway_concurrency_max": 2, "gateway_client_ratio_max": 0.5}),
        ("memory", {"gateway_bytes_in_flight_max": BODY_BYTES_MAX, "gateway_client_ratio_max": 1}),
    ],
)
async def test_refusals_at_a_limit_have_a_reason(reason: str, limits: dict[str, Any], *, has_lane: bool) -> None:
    """A request that a limit refuses is 503 and counted by the reason; the gauges show what is in use."""
    port, metrics = free_port(), GatewayMetrics()
    async with ingest(port), gateway(
        port, metrics=metrics, gateway_lane=has_lane, gateway_timeout_seconds=WAIT_SECONDS_MAX,
        gateway_trusted_networks=(), gateway_stop_seconds_max=0, **limits,
    ) as url:  # fmt: skip
        _reader, writer = await open_connection(url)
        writer.write(request_of(CURL, SLOW))
        in_work = metrics.requests_in_work.read
        assert in_work is not None
        await until_equal(in_work, {(): 1})
        large = b" " * (BODY_BYTES_MAX - 100) + b"{}"
        assert (await post(f"{url}{PRODUCE}", large))[0] == HTTPStatus.SERVICE_UNAVAILABLE
        shed = {values[0]: number.value for values, number in metrics.shed.children()}
        writer.close()

    assert shed == {reason: 1}
