"""Measures what ingest accepts in time while Kafka is slow: a real Kafka behind a proxy that delays and limits.

`python -m tests.benchmarks.goodput --trees OLD NEW` compares two clones of this project. Calls are offered at fixed
times, however slowly they are answered, with a deadline. A call counts as goodput if it was accepted before that. What
Kafka takes is read from the offsets of its topic, so that it includes events whose callers have given up.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import uvloop
from confluent_kafka import Consumer, TopicPartition

from local.settings import ROOT
from tests.benchmarks.api import labels
from tests.support.benchmarks.goodput import (
    AFTER_SECONDS,
    DEADLINE_SECONDS,
    EVENTS,
    QUANTITIES,
    figures,
    megabytes,
    smaller_caller,
)
from tests.support.benchmarks.report import Figure, Run
from tests.support.benchmarks.rows import BATCH_PRODUCE
from tests.support.benchmarks.systems import LAYOUT, System, topic_of, tree
from tests.support.benchmarks.tables import show
from tests.support.faults.slow_network import SlowNetwork, slow_kafka
from tests.support.load.bodies import json_batch, message_batch
from tests.support.load.offered import Offer, OfferedCall, RestCarrier, offer
from tests.support.processes.ingest_server import CHECK

CONNECTIONS = 8
# Bytes per second that the proxy lets through while it limits.
SLOW_RATE = 125_000.0
BEFORE_SECONDS, SETTLE_SECONDS = 3.0, 2.0
HEALTH_SECONDS = 0.25
HEALTH_SECONDS_MAX, TICK_SECONDS = 2.0, 0.005


@dataclass(frozen=True)
class Scenario:
    """What is offered, in multiples of what Kafka takes, or in events a second; and how slow Kafka is."""

    title: str
    multiple: float = 0.0
    per_second: float = 0.0
    delay_seconds: float = 0.0
    rate: float | None = None
    callers: tuple[int, ...] = (1,)


SCENARIOS = {
    "rate-2x": Scenario("rate cut, offered twice what Kafka takes", multiple=2.0, rate=SLOW_RATE),
    "rate-5x": Scenario("rate cut, offered five times what Kafka takes", multiple=5.0, rate=SLOW_RATE),
    "delay-100": Scenario("100 ms more latency, 2,000 events/s", per_second=2_000, delay_seconds=0.1),
    "delay-500": Scenario("500 ms more latency, 1,000 events/s", per_second=1_000, delay_seconds=0.5),
    "callers": Scenario("rate cut, two callers at 10 to 1, twice", multiple=2.0, rate=SLOW_RATE, callers=(10, 1)),
}


def main() -> None:
    """Measure, print, and write the report."""
    options = argparse.ArgumentParser(prog="goodput", description="Measures goodput while Kafka is slow.")
    options.add_argument("--rows", nargs="+", choices=list(SCENARIOS), default=list(SCENARIOS), metavar="ROW")
    options.add_argument("--trees", nargs="+", default=[str(ROOT)], metavar="PATH[,NAME=VALUE]")
    options.add_argument("--seconds", type=float, default=12.0, help="for which Kafka is slow")
    options.add_argument("--rest", action="store_true", help="send through the gateway")
    options.add_argument("--capacity", type=float, default=0.0, help="events per second; measured if 0")
    given = options.parse_args()
    run, found = Run("goodput"), list[Figure]()
    with tempfile.TemporaryDirectory(prefix="ugc-bench-") as folder, slow_kafka(Path(folder)) as (bootstrap, network):
        capacity = given.capacity
        for name, clone in labels(given.trees).items():
            for row in given.rows:
                with tree(name, clone, Path(folder), bootstrap) as system:
                    bench = Bench(system, bootstrap, topic_of(name), network, is_rest=given.rest)
                    if not capacity:
                        capacity = uvloop.run(bench.capacity())
                        sys.stdout.write(f"Kafka takes {capacity:,.0f} events/s with the rate cut\n")
                    taken = uvloop.run(bench.measure(SCENARIOS[row], capacity, given.seconds))
                found += [Figure(row, name, what, QUANTITIES[what], (value,)) for what, value in taken.items()]
                values = ", ".join(f"{what} {value:,.4g} {QUANTITIES[what]}" for what, value in taken.items())
                sys.stdout.write(f"{row:<9}{name:<14}{values}\n")
                sys.stdout.flush()
    titles = {name: each.title for name, each in SCENARIOS.items()}
    show(run.end(found, (), titles, {"seconds": given.seconds, "capacity": round(capacity), "rest": given.rest}))


class Bench:
    """Measures one system."""

    def __init__(
        self, system: System, bootstrap: str, topic: str, network: SlowNetwork, *, is_rest: bool = False
    ) -> None:
        """With `is_rest` events go through the gateway."""
        self._system = system
        self._bootstrap = bootstrap
        self._topic = topic
        self._network = network
        self._is_rest = is_rest
        self._bodies = json_batch(EVENTS) if is_rest else message_batch(EVENTS)
        self._memory: list[float] = []
        self._health: list[float] = []

    async def capacity(self) -> float:
        """Return how many events a second Kafka takes while the rate is limited."""
        offers = await self._offers(30_000, (1,))
        self._network.rate = SLOW_RATE
        sending = asyncio.create_task(offers[0].send(10.0))
        await asyncio.sleep(3.0)
        before, at = await self._offsets(), time.monotonic()
        await sending
        found = (await self._offsets() - before) / (time.monotonic() - at)
        self._network.rate = None
        await asyncio.sleep(6.0)
        offers[0].close()
        return found

    async def measure(self, scenario: Scenario, capacity: float, seconds: float) -> dict[str, float]:
        """Offer calls before, while and after Kafka is slow; return what was found."""
        total = scenario.per_second or capacity * scenario.multiple
        offers = await self._offers(total, scenario.callers)
        watching = [asyncio.create_task(self._watch()), asyncio.create_task(self._check_health())]
        sending = [asyncio.create_task(each.send(BEFORE_SECONDS + seconds + AFTER_SECONDS)) for each in offers]
        await asyncio.sleep(BEFORE_SECONDS)
        memory = max(self._memory)
        self._network.rate, self._network.delay_seconds = scenario.rate, scenario.delay_seconds
        began, before = time.monotonic(), await self._offsets()
        await asyncio.sleep(seconds)
        taken, ended = await self._offsets() - before, time.monotonic()
        self._network.rate, self._network.delay_seconds = None, 0.0
        await asyncio.gather(*sending)
        await asyncio.sleep(SETTLE_SECONDS + DEADLINE_SECONDS)
        for each in watching:
            each.cancel()
        for offered in offers:
            offered.close()
        calls = [call for each in offers for call in each.calls]
        return figures(calls, began, ended, taken, total) | {
            "memory more": max(self._memory) - memory,
            "slowest health check": max(self._health) * 1_000,
            **smaller_caller(offers, began, ended),
        }

    async def _offers(self, per_second: float, callers: Sequence[int]) -> list[Offer]:
        """Open the connections of the callers, who offer events in this proportion."""
        if self._is_rest:
            url, timeout = f"http://{self._system.http}/api/v1/batch_produce", f"{DEADLINE_SECONDS:.0f}S"
            headers = [{"Grpc-Timeout": timeout, "X-Forwarded-For": f"203.0.{at}.1"} for at in range(len(callers))]
            rates = [per_second / EVENTS * part / sum(callers) for part in callers]
            return [
                Offer(rate, [RestCarrier(url, self._bodies, own)]) for rate, own in zip(rates, headers, strict=True)
            ]
        return [
            await offer(
                self._system.grpc,
                BATCH_PRODUCE,
                self._bodies,
                per_second / EVENTS * part / sum(callers),
                connections=CONNECTIONS,
                metadata=(("grpc-timeout", f"{DEADLINE_SECONDS:.0f}S"), ("x-forwarded-for", f"203.0.{at}.1")),
            )
            for at, part in enumerate(callers)
        ]

    async def _offsets(self) -> int:
        """Return the sum of the topic's offsets."""

        def read() -> int:
            consumer = Consumer({"bootstrap.servers": self._bootstrap, "group.id": "goodput", "log_level": 2})
            try:
                partitions = (TopicPartition(self._topic, number) for number in range(LAYOUT.partitions))
                return sum(consumer.get_watermark_offsets(each, timeout=30)[1] for each in partitions)
            finally:
                consumer.close()

        return await asyncio.to_thread(read)

    async def _watch(self) -> None:
        """Note the memory of ingest and of the gateway."""
        while True:
            self._memory.append(sum(map(megabytes, self._system.pids.values())))
            await asyncio.sleep(HEALTH_SECONDS)

    async def _check_health(self) -> None:
        """Call the health service of ingest again and again."""
        checks = await offer(self._system.grpc, CHECK, [b""], 1.0, connections=1)
        while True:
            call = OfferedCall(time.monotonic())
            checks.connections[0].offer(0, call)
            for _ in range(int(HEALTH_SECONDS_MAX / TICK_SECONDS)):
                if call.ended is not None:
                    break
                await asyncio.sleep(TICK_SECONDS)
            self._health.append((call.ended or time.monotonic()) - call.due)
            await asyncio.sleep(HEALTH_SECONDS)


if __name__ == "__main__":
    main()
