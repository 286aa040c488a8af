"""Replicas behind a gateway, which answer in frames and alone, and clients that count what they get."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import grpc
from grpc_health.v1 import health, health_pb2_grpc

from gateway.metrics import GatewayMetrics
from local.processes.ports import free_port
from tests.contract.endpoints import WAIT_SECONDS_MAX, gateway
from tests.contract.relayed_service import PATH, PRODUCE, Service, event, until
from tests.support.fakes.relay import FakeRelay, declaration, handlers

CALLS = 320
CLIENTS = 16


class Running:
    """One replica, which answers in frames and alone."""

    def __init__(self, name: str, port: int = 0) -> None:
        self.service = Service()
        declared = declaration(PRODUCE)
        declared.server = name
        self.relay = FakeRelay(self.service.relayed, declared)
        self.health = health.aio.HealthServicer()
        self.port = port or free_port()
        self._server: grpc.aio.Server | None = None

    @property
    def calls(self) -> int:
        """How many calls it got."""
        return len(self.relay.begun) + len(self.service.alone)

    async def __aenter__(self) -> Running:
        self._server = server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
        server.add_generic_rpc_handlers((self.service.handlers(), handlers(self.relay)))
        health_pb2_grpc.add_HealthServicer_to_server(self.health, server)
        server.add_insecure_port(f"127.0.0.1:{self.port}")
        await server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        await self._server.stop(0)


@contextlib.asynccontextmanager
async def balanced(
    *ports: int, metrics: GatewayMetrics | None = None, is_relayed: bool = True, **changes: Any
) -> AsyncIterator[str]:
    """Serve a gateway in front of replicas; yield its URL."""
    target = ",".join(f"127.0.0.1:{port}" for port in ports)
    async with gateway(
        0, ingest_target=target, metrics=metrics, gateway_relay=is_relayed, gateway_reconnect_seconds_max=0.1,
        gateway_timeout_seconds=WAIT_SECONDS_MAX, **changes,
    ) as url:  # fmt: skip
        yield url


async def statuses(url: str, count: int = CALLS) -> set[int]:
    """Make calls by several clients; return the statuses of their responses."""

    async def client(session: aiohttp.ClientSession, number: int) -> set[int]:
        found = set[int]()
        for call in range(count // CLIENTS):
            async with session.post(f"{url}{PATH}", data=event(f"{number} {call}")) as answer:
                found.add(answer.status)
        return found

    async with aiohttp.ClientSession() as session:
        return set[int]().union(*await asyncio.gather(*[client(session, number) for number in range(CLIENTS)]))


async def shares(url: str, *replicas: Running) -> list[int]:
    """Return how many of some calls, which all succeed, each replica gets."""
    before = [each.calls for each in replicas]
    assert await statuses(url) == {201}
    return [each.calls - count for each, count in zip(replicas, before, strict=True)]


async def all_available(metrics: GatewayMetrics, count: int, streams: int) -> None:
    """Wait until the gateway has so many replicas that are connected and serve, and so many streams to them."""

    async def is_so() -> bool:
        found = {sample.name: sample.value for family in metrics.collect() for sample in family.samples}
        return (found["ugc_gateway_replicas_available"], found["ugc_gateway_relay_streams"]) == (count, streams)

    await until(is_so)


def moved(metrics: GatewayMetrics) -> float:
    """Return how many calls another replica got."""
    return metrics.calls_moved.value


async def wait(read: Callable[[], Awaitable[Any]], wanted: Any) -> None:
    """Wait until something reads as wanted."""

    async def is_so() -> bool:
        return bool(await read() == wanted)

    await until(is_so)
