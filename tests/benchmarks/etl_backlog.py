"""Measures how the etl, a discarding consumer and ClickHouse's Kafka engine load the same backlog.

`python -m tests.benchmarks.etl_backlog [--events N] [--rounds N]`. The servers are real, the variants alternate, and
medians are printed. CPU seconds are those of whole processes, without what ClickHouse uses while idle.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from db.clickhouse.client import ClickHouse, connected
from db.clickhouse.schema import migrate
from db.kafka.layout import TopicLayout
from db.kafka.topics import provision, topic_identity
from local.clickhouse.server import clickhouse_program
from local.kafka.server import kafka_program
from local.processes.ports import free_port
from local.processes.program import Child, Program, running
from tests.support.benchmarks.report import THIS_PROJECT, Comparison, Figure, Run
from tests.support.benchmarks.tables import show
from tests.support.load.backlog import fill
from tests.support.load.kafka_engine import attach, detach, write_schema
from tests.support.load.meter import DRAIN_SECONDS_MAX, IDLE_SECONDS, Cost, Meter, await_true, cpu_seconds, peak_bytes
from tests.support.processes.management import NO_MANAGEMENT

LAYOUT = TopicLayout(partitions=6, replication_factor=1, min_insync_replicas=1, retention_hours=24)
TOPIC, EMPTY_TOPIC = "backlog", "empty"
ROW = "backlog"
CPU, RATE = "CPU", "rate"
TITLES = {
    ROW: "a backlog in Kafka, loaded into ClickHouse",
    "etl": "etl, exactly once",
    "discard": "the same consumer, discarding",
    "engine": "ClickHouse's Kafka engine, at least once",
}


@dataclass(frozen=True)
class Bench:
    """The servers of a benchmark, and the size of the backlog."""

    kafka: str
    clickhouse: str
    server: Child
    folder: Path
    events: int
    start_up: float = 0.0

    @contextmanager
    def database(self) -> Iterator[tuple[str, ClickHouse]]:
        """Create a database with the tables, and drop it when the context ends."""
        name = f"bench_{uuid.uuid4().hex}"
        url = f"{self.clickhouse}/{name}"
        migrate(url)
        with connected(url) as database:
            yield url, database
            database.rows(f"DROP DATABASE {name} SYNC")

    def etl(self, url: str, topic: str) -> Program:
        """Return the etl, with a new group."""
        return Program(
            name="etl",
            argv=(sys.executable, "-m", "etl"),
            log=self.folder / f"etl-{uuid.uuid4().hex}.log",
            environment={
                **NO_MANAGEMENT,
                "UGC_KAFKA_BOOTSTRAP_SERVERS": self.kafka,
                "UGC_KAFKA_TOPIC": topic,
                "UGC_CLICKHOUSE_URL": url,
                "UGC_ETL_GROUP": f"etl-{uuid.uuid4().hex}",
            },
        )


def main() -> None:
    """Fill the topic, load it with each variant, and print the costs."""
    options = argparse.ArgumentParser(prog="etl_backlog", description="Measures the cost of loading a backlog.")
    options.add_argument("--events", type=int, default=2_000_000, help="10,000,000 take about 20 minutes")
    options.add_argument("--rounds", type=int, default=3)
    given = options.parse_args()
    run = Run("etl_backlog")
    with tempfile.TemporaryDirectory(prefix="ugc-bench-") as folder, servers(Path(folder), given.events) as bench:
        for topic in (TOPIC, EMPTY_TOPIC):
            provision(bench.kafka, topic, LAYOUT)
        progress(f"filling the topic with {given.events:,} events")
        progress(f"an event has {fill(bench.kafka, TOPIC, given.events, seed=1):.0f} bytes on average")
        variants: dict[str, Callable[[Bench], Cost]] = {
            "etl": drain_by_etl,
            "discard": drain_by_discarding,
            "engine": drain_by_engine,
        }
        costs: dict[str, list[Cost]] = {name: [] for name in variants}
        for number in range(given.rounds):
            for name, drain in variants.items():
                costs[name].append(drain(bench))
                progress(f"round {number + 1}, {name}: {costs[name][-1]}")
        found = figures(costs, given.events)
        show(run.end(found, comparisons(found, given.events), TITLES, vars(given)))


@contextmanager
def servers(folder: Path, events: int) -> Iterator[Bench]:
    """Start Kafka and ClickHouse with empty data directories."""
    kafka_port, clickhouse_port = free_port(), free_port()
    broker = kafka_program(folder / "kafka", kafka_port, free_port())
    server = clickhouse_program(folder / "clickhouse", clickhouse_port, free_port())
    write_schema(folder / "clickhouse")
    with running(broker), running(server) as child:
        url = f"clickhouse://default@127.0.0.1:{clickhouse_port}"
        yield Bench(f"127.0.0.1:{kafka_port}", url, child, folder, events)


def drain_by_etl(bench: Bench) -> Cost:
    """Load with `python -m etl`, without the cost of its start, which is measured with an empty topic."""
    with bench.database() as (url, _), running(bench.etl(url, EMPTY_TOPIC)) as etl:
        await_true(lambda: "partitions assigned" in etl.program.log.read_text())
        time.sleep(IDLE_SECONDS)
        start_up = cpu_seconds(etl.process.pid)
    with bench.database() as (url, database), Meter(bench.server.process.pid, database, bench.events) as meter:
        with running(bench.etl(url, TOPIC)) as etl:
            meter.await_rows(lambda: cpu_seconds(etl.process.pid))
            peak = peak_bytes(etl.process.pid)
        return replace(meter.cost(start_up), peak=peak)


def drain_by_engine(bench: Bench) -> Cost:
    """Load with ClickHouse's Kafka engine."""
    with bench.database() as (_, database), Meter(bench.server.process.pid, database, bench.events) as meter:
        attach(database, bench.kafka, TOPIC, topic_identity(bench.kafka, TOPIC))
        meter.await_rows(lambda: 0.0)
        detach(database)
        return meter.cost(0.0)


def drain_by_discarding(bench: Bench) -> Cost:
    """Read and discard the messages."""
    group = f"discard-{uuid.uuid4().hex}"
    command = [sys.executable, "-m", "tests.support.load.discard", bench.kafka, TOPIC, group, str(bench.events)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DRAIN_SECONDS_MAX, check=True)
    cpu, seconds, messages = map(float, done.stdout.split())
    return Cost(cpu, 0.0, 0.0, 0, seconds, messages / seconds)


def figures(costs: dict[str, list[Cost]], events: int) -> list[Figure]:
    """Return the figures of each variant: microseconds of CPU an event, with merges apart, and the rate."""
    found = []
    for name, each in costs.items():
        own, server, merges = (
            tuple(getattr(cost, part) / events * 1e6 for cost in each) for part in ("client", "server", "merges")
        )
        parts = {"process": statistics.median(own), "ClickHouse": statistics.median(server)}
        together = tuple(map(sum, zip(own, server, strict=True)))
        rates = tuple(cost.rows_per_second for cost in each)
        found += [
            Figure(ROW, name, CPU, "us an event", together, parts),
            Figure(ROW, name, "CPU of merges after it", "us an event", merges),
            Figure(ROW, name, RATE, "events/s", rates),
            Figure(ROW, name, "inserted parts", "", tuple(cost.parts for cost in each)),
            Figure(ROW, name, "time", "s", tuple(cost.seconds for cost in each)),
        ]
        if any(cost.peak for cost in each):
            found.append(Figure(ROW, name, "peak memory", "MB", tuple(cost.peak / 1e6 for cost in each)))
    return found


def comparisons(found: list[Figure], events: int) -> list[Comparison]:
    """Return the ratios of the etl to the Kafka engine."""
    values = {(each.system, each.quantity): each for each in found}
    return [
        Comparison(
            f"Loading {events:,} events: {quantity}",
            THIS_PROJECT,
            own.unit,
            own.median,
            "ClickHouse's Kafka engine",
            values["engine", quantity].median,
            aim,
            higher=quantity == RATE,
        )
        for quantity, aim in ((CPU, 0.55), (RATE, 2.6))
        if (own := values["etl", quantity])
    ]


def progress(text: str) -> None:
    """Print a line of progress."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
