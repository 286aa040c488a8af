"""What the gateway learns from the service by reflection: all its routes, or which optional services it runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import structlog

from gateway.settings import REFLECTION, product_descriptors
from local.processes.ports import free_port
from tests.contract.endpoints import WAIT_SECONDS_MAX, gateway
from tests.support.fakes.reflection import Described, reflecting
from tests.support.inputs.descriptors import HEAD, compiled, service

# Nothing but a reconnection makes the gateway ask again.
HOUR = 3_600.0
SHOP, TILL = "/shop?key=a", "/till?key=a"
DEBUG, DEBUG_PATH = "ugc.v1.DebugService", "/api/v1/random_batch_produce"


def described(*names: str, text: str = "") -> Described:
    """Return what a server with services of these names reflects."""
    return Described.of(compiled(shop=HEAD + "".join(map(service, names)) + text))


async def fetch(url: str, method: str = "GET") -> tuple[int, Any, Any]:
    """Return status, body and headers."""
    async with aiohttp.ClientSession() as session, session.request(method, url) as answer:
        is_json = answer.content_type == "application/json"
        return answer.status, await answer.json() if is_json else await answer.text(), answer.headers


async def until(read: Callable[[], Awaitable[Any]], *, wanted: Any) -> None:
    """Wait until something reads as wanted."""
    async with asyncio.timeout(WAIT_SECONDS_MAX):
        while await read() != wanted:  # noqa: ASYNC110 -- what is read is the state of another server
            await asyncio.sleep(0.02)


async def status(url: str) -> int:
    return (await fetch(url))[0]


async def test_service_away_at_start() -> None:
    """The gateway starts without its service, is not ready and answers 503 with a delay; then it learns and serves."""
    port = free_port()
    async with gateway(port, gateway_descriptors=REFLECTION, gateway_reflection_seconds=HOUR) as url:
        for path in (SHOP, "/readyz", "/api/openapi.json"):
            code, body, headers = await fetch(url + path)
            assert (code, body["code"], headers["Retry-After"]) == (503, 14, "1")
        assert [await status(url + path) for path in ("/healthz", "/", "/api/openapi")] == [200, 200, 200]

        async with reflecting(described("Shop"), port):
            await until(lambda: status(f"{url}/readyz"), wanted=200)
            assert (await fetch(url + SHOP))[:2] == (200, {"value": "a"})
            assert list((await fetch(f"{url}/api/openapi.json"))[1]["paths"]) == ["/shop"]


async def test_another_service_at_the_same_port() -> None:
    """After a restart with another service its routes are served, without waiting for the next period."""
    port = free_port()
    async with gateway(port, gateway_descriptors=REFLECTION, gateway_reflection_seconds=HOUR) as url:
        async with reflecting(described("Shop"), port):
            await until(lambda: status(url + SHOP), wanted=200)
        assert (await status(url + SHOP), await status(url + TILL)) == (503, 404)  # what was learned stays
        async with reflecting(described("Till"), port):
            await until(lambda: status(url + TILL), wanted=200)
            assert await status(url + SHOP) == 404


async def test_change_without_a_restart() -> None:
    """A service that changes under an open connection is noticed at the next period."""
    server = described("Shop")
    async with (
        reflecting(server) as port,
        gateway(port, gateway_descriptors=REFLECTION, gateway_reflection_seconds=0.1) as url,
    ):
        await until(lambda: status(url + SHOP), wanted=200)
        changed = described("Shop", "Till")
        server.files, server.services = changed.files, changed.services
        await until(lambda: status(url + TILL), wanted=200)
        assert await status(url + SHOP) == 200


BROKEN: dict[str, Callable[[Described], None]] = {
    "no list": lambda server: setattr(server, "change", lambda _request, _data: b""),
    "garbage": lambda server: setattr(server, "change", lambda _request, _data: b"\xff"),
    "a missing import": lambda server: server.files["shop.proto"].dependency.append("absent.proto"),
    "a cycle": lambda server: server.files["shop.proto"].dependency.append("shop.proto"),
    "an unknown type": lambda server: setattr(
        server.files["shop.proto"].service[0].method[0], "input_type", ".shop.v1.Absent"
    ),
    "no HTTP rules": lambda server: server.files["shop.proto"].service[0].method[0].ClearField("options"),
    "no services": lambda server: server.services.clear(),
    "no reflection": lambda server: setattr(server, "versions", ()),
}


def warnings(lines: list[Any]) -> list[str]:
    """Return the warnings of a log."""
    return [line["event"] for line in lines if line["log_level"] == "warning"]


@pytest.mark.parametrize("fault", BROKEN)
async def test_broken(fault: str) -> None:
    """Descriptors that cannot be served are logged once, and the routes stay; whole ones are learned afterwards."""
    server = described("Shop")
    with structlog.testing.capture_logs() as lines:
        async with (
            reflecting(server) as port,
            gateway(port, gateway_descriptors=REFLECTION, gateway_reflection_seconds=0.1) as url,
        ):
            await until(lambda: status(f"{url}/readyz"), wanted=200)
            BROKEN[fault](server)
            server.requests.clear()
            await until(lambda: asyncio.sleep(0, len(warnings(lines))), wanted=1)
            assert await status(url + SHOP) in (200, 501)  # 501 from a server that has no such service any more
            assert await status(f"{url}/readyz") == 200
            whole = described("Shop", "Till")
            server.files, server.services, server.versions = whole.files, whole.services, whole.versions
            server.change = whole.change
            await until(lambda: status(url + TILL), wanted=200)

    assert warnings(lines) == ["learning the services behind the gateway failed, retrying"]
    assert [line["event"] for line in lines if "works again" in line["event"]]


async def test_optional_service() -> None:
    """With descriptors of a file the document has an optional service while the server lists it."""
    server = Described.of(product_descriptors().read_bytes())
    server.services.remove(DEBUG)

    async def documented() -> bool:
        return DEBUG_PATH in (await fetch(f"{url}/api/openapi.json"))[1]["paths"]

    async with reflecting(server) as port, gateway(port, gateway_reflection_seconds=0.1) as url:
        await until(lambda: status(f"{url}/readyz"), wanted=200)
        assert not await documented()
        server.services.append(DEBUG)
        await until(documented, wanted=True)
        assert (await fetch(f"{url}{DEBUG_PATH}", "POST"))[0] == 200
        server.versions = ()  # a server without reflection lists nothing
        await until(documented, wanted=False)


async def test_optional_service_is_known_when_ready() -> None:
    """The gateway is ready only after it has asked: a document that is fetched then is right at once."""
    async with (
        reflecting(Described.of(product_descriptors().read_bytes(), pause_seconds=0.5)) as port,
        gateway(port, gateway_reflection_seconds=HOUR) as url,
    ):
        assert await status(f"{url}/readyz") == 503
        await until(lambda: status(f"{url}/readyz"), wanted=200)
        assert DEBUG_PATH in (await fetch(f"{url}/api/openapi.json"))[1]["paths"]


async def test_reflection_that_hangs_does_not_hold_up_a_file() -> None:
    """With descriptors of a file the gateway becomes ready when reflection does not respond in time."""
    server = Described.of(product_descriptors().read_bytes(), pause_seconds=HOUR)
    with structlog.testing.capture_logs() as lines:
        async with (
            reflecting(server) as port,
            gateway(port, gateway_reflection_seconds=HOUR, gateway_reflection_seconds_max=0.3) as url,
        ):
            await until(lambda: status(f"{url}/readyz"), wanted=200)

    assert "did not respond to reflection within 0.3 s" in str(lines)


async def test_index() -> None:
    """GET and HEAD / are a page with links that all answer, which loads nothing; other methods are 405."""
    async with reflecting(described("Shop")) as port, gateway(port, gateway_demo=True) as url:
        await until(lambda: status(f"{url}/readyz"), wanted=200)
        code, body, headers = await fetch(f"{url}/")
        links = [part.partition('"')[0] for part in body.split('href="')[1:] if part.startswith("/")]

        assert (code, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
        assert headers["Content-Security-Policy"].startswith("default-src 'none'; style-src 'unsafe-inline'; ")
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert "<h1>UGC events <small>" in body
        assert links == ["/api/openapi", "/api/openapi.json", "/api/demo", "/healthz", "/readyz"]
        assert [await status(url + link) for link in links] == [200] * 5
        assert "http://" not in body
        assert "https://" not in body
        code, _, head_headers = await fetch(f"{url}/", "HEAD")
        assert (code, head_headers["Content-Length"]) == (200, headers["Content-Length"])
        code, _, headers = await fetch(f"{url}/", "POST")
        assert (code, headers["Allow"]) == (405, "GET, HEAD")


async def test_index_without_demo() -> None:
    """The index has no link to a demonstration that is off."""
    async with reflecting(described("Shop")) as port, gateway(port) as url:
        assert "/api/demo" not in (await fetch(f"{url}/"))[1]


@pytest.mark.parametrize("rule", ['get: "/"', 'post: "/" body: "*"', 'get: "/{key=**}"'])
async def test_route_in_the_place_of_the_index(rule: str, tmp_path: Path) -> None:
    """A service with a route at / has it to itself: the index is not served, whatever the route's method."""
    source = HEAD + service("Shop").replace('get: "/shop"', rule)
    descriptors = tmp_path / "shop.binpb"
    descriptors.write_bytes(compiled(shop=source))
    async with (
        reflecting(Described.of(descriptors.read_bytes())) as port,
        gateway(port, gateway_descriptors=descriptors) as url,
    ):
        if rule.startswith("post"):
            assert (await fetch(f"{url}/"))[0] == 405
        else:
            assert (await fetch(f"{url}/"))[:2] == (200, {"value": ""})
