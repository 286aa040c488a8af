"""Measures what a well-behaved caller notices of clients that keep calls and connections open and send nothing.

`python -m tests.benchmarks.silent_clients`: with a real Kafka, single events are sent by gRPC and by REST. First they
are alone, then beside 1,000 calls that never send their message, 256 connections with half a body, and 2,000 idle ones.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import grpc
import uvloop

from local.settings import ROOT
from local.up.example import DOCUMENTED_EVENT
from tests.integration.test_idle_clients import HALF_A_REQUEST, idlers_of
from tests.integration.test_silent_clients import BATCH_PRODUCE, PRODUCE, idle_connections, silent_streams
from tests.support.benchmarks.report import THIS_PROJECT, Figure, Run
from tests.support.benchmarks.systems import Clone, System, kafka, tree
from tests.support.benchmarks.tables import show
from tests.support.inputs.events import documented
from tests.support.load.arrivals import percentile
from tests.support.processes.ingest_server import connection

SILENT_CALLS, HALF_BODIES, IDLE_CONNECTIONS = 1_000, 256, 2_000
PER_SECOND = 50.0
WARM_CALLS = 50
# Until the clients are connected, and what they began has been read.
SETTLE_SECONDS = 3.0
CALL_SECONDS_MAX = 30.0
EVENT = documented().SerializeToString()


def main() -> None:
    """Measure, print, and write the report."""
    options = argparse.ArgumentParser(prog="silent_clients", description="Measures what silent clients cost others.")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--seconds", type=float, default=6.0, help="of each measurement")
    given = options.parse_args()
    run, found = Run("silent_clients"), dict[tuple[str, str], list[float]]()
    with (
        tempfile.TemporaryDirectory(prefix="ugc-bench-") as folder,
        kafka(Path(folder)) as (bootstrap, _broker),
        tree(THIS_PROJECT, Clone(ROOT), Path(folder), bootstrap) as system,
    ):
        for _ in range(given.rounds):
            uvloop.run(measure(system, given.seconds, found))
    figures = [Figure(row, THIS_PROJECT, what, "ms", tuple(values)) for (row, what), values in found.items()]
    show(run.end(figures, (), {}, vars(given)))


async def measure(system: System, seconds: float, found: dict[tuple[str, str], list[float]]) -> None:
    """Measure one round, without the silent clients and with them."""
    async with connection(system.grpc) as channel, aiohttp.ClientSession(f"http://{system.http}") as session:
        produce: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(PRODUCE)

        async def by_grpc() -> None:
            await produce(EVENT, timeout=CALL_SECONDS_MAX)

        async def by_rest() -> None:
            async with session.post("/api/v1/produce", data=DOCUMENTED_EVENT) as answer:
                answer.raise_for_status()
                await answer.read()

        senders = {"gRPC Produce": by_grpc, "REST, one event": by_rest}
        for name, send in senders.items():
            note(found, f"{name}, alone", await latencies(send, seconds))
        async with silent_clients(system):
            await asyncio.sleep(SETTLE_SECONDS)
            for name, send in senders.items():
                note(found, f"{name}, beside silent clients", await latencies(send, seconds))


@contextlib.asynccontextmanager
async def silent_clients(system: System) -> AsyncIterator[None]:
    """Open the calls and connections of clients that send nothing more."""
    async with contextlib.AsyncExitStack() as clients:
        for method in (PRODUCE, BATCH_PRODUCE):
            await clients.enter_async_context(silent_streams(system.grpc, method, 4, SILENT_CALLS // 2))
        await clients.enter_async_context(idlers_of(system.http, HALF_A_REQUEST, HALF_BODIES))
        await clients.enter_async_context(idle_connections(system.grpc, IDLE_CONNECTIONS // 2))
        await clients.enter_async_context(idlers_of(system.http, b"", IDLE_CONNECTIONS // 2))
        yield


async def latencies(send: Callable[[], Awaitable[None]], seconds: float) -> list[float]:
    """Send one event after the other at a low rate; return how long each took."""
    for _ in range(WARM_CALLS):
        await send()
    found, began = list[float](), time.perf_counter()
    for number in range(int(seconds * PER_SECOND)):
        await asyncio.sleep(max(0.0, began + number / PER_SECOND - time.perf_counter()))
        at = time.perf_counter()
        await send()
        found.append(time.perf_counter() - at)
    return found


def note(found: dict[tuple[str, str], list[float]], row: str, latencies: list[float]) -> None:
    """Add the percentiles of a measurement, in milliseconds."""
    for what, share in (("latency p50", 0.5), ("latency p99", 0.99)):
        found.setdefault((row, what), []).append(percentile(latencies, share) * 1_000)


if __name__ == "__main__":
    main()
