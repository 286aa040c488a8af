"""The management listener of the gateway: probes and metrics, whatever happens to the service and to requests."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any, NamedTuple

import pytest
from grpc_health.v1 import health_pb2

from common import heartbeat
from common.settings import Address
from gateway.app import Gateway
from gateway.backend import connecting
from gateway.discovery import discovering
from gateway.management import managed
from gateway.metrics import GatewayMetrics
from gateway.process import build
from gateway.serving import serving
from gateway.settings import GatewaySettings
from local.processes.ports import free_port
from tests.contract.endpoints import WAIT_SECONDS_MAX, ingest, post
from tests.support.processes.management import page, scrape, value


class Managed(NamedTuple):
    """A gateway with a management listener."""

    gateway: Gateway
    url: str
    management: str

    async def page(self, path: str) -> tuple[int, str]:
        """Return the status and the text of a page of the listener."""
        return await asyncio.to_thread(page, self.management, path)

    async def until(self, path: str, wanted: tuple[int, str]) -> None:
        """Wait until a page is as wanted."""
        async with asyncio.timeout(WAIT_SECONDS_MAX):
            while await self.page(path) != wanted:  # noqa: ASYNC110 -- the listener has no event for it
                await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def managed_gateway(port: int, **changes: Any) -> AsyncIterator[Managed]:
    """Serve in front of a port, with a management listener."""
    management, metrics = Address("127.0.0.1", free_port()), GatewayMetrics()
    settings = GatewaySettings(
        gateway_listen=Address("127.0.0.1", 0),
        gateway_management_listen=management,
        ingest_target=f"127.0.0.1:{port}",
        gateway_drain_seconds=0,
        **changes,
    )
    async with connecting(settings, metrics) as backend:
        made, source = build(settings, backend, metrics)
        async with managed(made, backend), discovering(made, backend, source), serving(made) as address:
            yield Managed(made, f"http://{address}", str(management))


READY = HTTPStatus.OK, "ok\n"
UNREADY = HTTPStatus.SERVICE_UNAVAILABLE


async def test_readiness_follows_the_service() -> None:
    """The gateway is ready while the service serves, unready while it does not, and alive all the time."""
    port = free_port()
    async with managed_gateway(port) as one:
        await one.until("/readyz", (UNREADY, "the service behind the gateway is not serving\n"))
        assert await one.page("/livez") == READY
        async with ingest(port) as checks:
            await one.until("/readyz", READY)
            assert value(await asyncio.to_thread(scrape, one.management), "ugc_gateway_ingest_serving") == 1
            await checks.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
            await one.until("/readyz", (UNREADY, "the service behind the gateway is not serving\n"))
        assert await one.page("/livez") == READY
        assert value(await asyncio.to_thread(scrape, one.management), "ugc_gateway_ingest_serving") == 0


async def test_readiness_ends_with_the_drain() -> None:
    """While it drains the gateway is not ready, and still alive."""
    port = free_port()
    async with ingest(port), managed_gateway(port, gateway_descriptors="reflection") as one:
        one.gateway.health.unlearned = "nothing is learned"
        await one.until("/readyz", (UNREADY, "nothing is learned\n"))
        one.gateway.health.is_draining = True
        assert await one.page("/readyz") == (UNREADY, "stopping\n")
        assert await one.page("/livez") == READY


async def test_a_blocked_loop_is_not_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    """The listener answers while the event loop is blocked, and then /livez names the reason."""
    monkeypatch.setattr(heartbeat, "SILENCE_SECONDS_MAX", 0.5)
    port = free_port()
    async with ingest(port), managed_gateway(port) as one:
        with ThreadPoolExecutor(1) as other:
            # Waits here, which blocks the loop; the listener answers all the same.
            status, text = other.submit(first_problem, one.management).result(WAIT_SECONDS_MAX)

    assert (status, text.partition(" for ")[0]) == (UNREADY, "the event loop has not turned")


def first_problem(management: str) -> tuple[int, str]:
    """Return the first answer of /livez that is not 200."""
    while (answer := page(management, "/livez"))[0] == HTTPStatus.OK:
        time.sleep(0.01)
    return answer


async def test_a_scrape_has_the_limits_and_what_is_in_use() -> None:
    """Gauges are read at the scrape: connections, requests, bytes, calls, streams, each beside its limit."""
    port = free_port()
    async with ingest(port), managed_gateway(port, gateway_concurrency_max=7, gateway_connections_max=11) as one:
        assert (await post(f"{one.url}/api/v1/produce", b"{}"))[0] == HTTPStatus.CREATED
        found = await asyncio.to_thread(scrape, one.management)
    gauges = {name: number for (name, labels), number in found.items() if not labels}

    assert gauges["ugc_gateway_requests_in_work_limit"] == 7
    assert gauges["ugc_gateway_connections_limit"] == 11
    assert gauges["ugc_gateway_bytes_in_flight_limit"] == one.gateway.settings.gateway_bytes_in_flight_max
    in_use = ("requests_in_work", "bytes_in_flight", "calls_in_flight", "calls_in_flight_limit", "relay_streams")
    assert {gauges[f"ugc_gateway_{name}"] for name in in_use} == {0}
    labels = {"http_request_method": "POST", "http_response_status_code": "201", "http_route": "/api/v1/produce"}
    assert value(found, "http_server_request_duration_seconds_count", **labels) == 1
