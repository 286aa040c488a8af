"""Drains one backlog by the etl, a discarding consumer and ClickHouse's Kafka engine, and prints what each costs.

`python -m tests.benchmarks.etl_backlog [--events N] [--rounds N]`. Real servers on this machine; the ways take turns,
the medians are printed. CPU seconds are of whole processes; what ClickHouse uses while idle is subtracted.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from db.clickhouse.client import ClickHouse, connected
from db.clickhouse.local_server import clickhouse_program
from db.clickhouse.schema import migrate
from db.kafka.local_server import kafka_program
from db.kafka.topics import TopicLayout, provision, topic_identity
from services.runtime.program import Child, Program, free_port, running
from tests.support.backlog import fill
from tests.support.kafka_engine import attach, detach, write_schema

LAYOUT = TopicLayout(partitions=6, replication_factor=1, min_insync_replicas=1, retention_hours=24)
TOPIC, EMPTY_TOPIC = "backlog", "empty"
FLUSH_ROWS = 50_000
IDLE_SECONDS = 3.0
# Each look costs ClickHouse a millisecond.
POLL_SECONDS = 0.3
DRAIN_SECONDS_MAX = 900.0
SETTLED_SECONDS, SETTLE_SECONDS_MAX = 2.0, 180.0
COLUMNS = 160


@dataclass(frozen=True)
class Cost:
    """What one drain used: CPU seconds until the last row is visible, and of merges after that; and how fast it was.

    `seconds` are from the start, `rows_per_second` from the first rows to the last; `parts` were inserted.
    """

    client: float
    server: float
    merges: float
    parts: int
    seconds: float
    rows_per_second: float


@dataclass(frozen=True)
class Bench:
    """The servers of a run, and the backlog."""

    kafka: str
    clickhouse: str
    server: Child
    folder: Path
    events: int
    start_up: float = 0.0

    @contextmanager
    def database(self) -> Iterator[tuple[str, ClickHouse]]:
        """Make a database with our tables, and drop it afterwards."""
        name = f"bench_{uuid.uuid4().hex}"
        url = f"{self.clickhouse}/{name}"
        migrate(url)
        with connected(url) as database:
            yield url, database
            database.rows(f"DROP DATABASE {name} SYNC")

    def etl(self, url: str, topic: str) -> Program:
        """Return the real etl, of a new group."""
        return Program(
            name="etl",
            argv=(sys.executable, "-m", "etl"),
            log=self.folder / f"etl-{uuid.uuid4().hex}.log",
            environment={
                "UGC_KAFKA_BOOTSTRAP_SERVERS": self.kafka,
                "UGC_KAFKA_TOPIC": topic,
                "UGC_CLICKHOUSE_URL": url,
                "UGC_ETL_GROUP": f"etl-{uuid.uuid4().hex}",
                "UGC_ETL_FLUSH_ROWS": str(FLUSH_ROWS),
            },
        )


def main() -> None:
    """Fill, drain, print."""
    options = argparse.ArgumentParser(prog="etl_backlog", description="What loading a backlog costs.")
    options.add_argument("--events", type=int, default=2_000_000)
    options.add_argument("--rounds", type=int, default=2)
    given = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="ugc-bench-") as folder, servers(Path(folder), given.events) as bench:
        for topic in (TOPIC, EMPTY_TOPIC):
            provision(bench.kafka, topic, LAYOUT)
        say(f"filling the topic with {given.events:,} events")
        say(f"an event has {fill(bench.kafka, TOPIC, given.events, seed=1):.0f} bytes on average")
        ways: dict[str, Callable[[Bench], Cost]] = {
            "etl": drain_by_etl,
            "discard": drain_by_discarding,
            "engine": drain_by_engine,
        }
        costs: dict[str, list[Cost]] = {name: [] for name in ways}
        for number in range(given.rounds):
            for name, drain in ways.items():
                costs[name].append(drain(bench))
                say(f"round {number + 1}, {name}: {costs[name][-1]}")
        show({name: median(each) for name, each in costs.items()}, given.events)


@contextmanager
def servers(folder: Path, events: int) -> Iterator[Bench]:
    """Start Kafka and ClickHouse with data of their own."""
    kafka_port, clickhouse_port = free_port(), free_port()
    broker = kafka_program(folder / "kafka", kafka_port, free_port())
    server = clickhouse_program(folder / "clickhouse", clickhouse_port, free_port())
    write_schema(folder / "clickhouse")
    with running(broker), running(server) as child:
        url = f"clickhouse://default@127.0.0.1:{clickhouse_port}"
        yield Bench(f"127.0.0.1:{kafka_port}", url, child, folder, events)


def drain_by_etl(bench: Bench) -> Cost:
    """Run `python -m etl`; what its start costs is measured on an empty topic and subtracted."""
    with bench.database() as (url, _), running(bench.etl(url, EMPTY_TOPIC)) as etl:
        await_true(lambda: "partitions assigned" in etl.program.log.read_text())
        time.sleep(IDLE_SECONDS)
        start_up = cpu_seconds(etl.process.pid)
    with bench.database() as (url, database), Meter(bench, database) as meter:
        with running(bench.etl(url, TOPIC)) as etl:
            meter.await_rows(lambda: cpu_seconds(etl.process.pid))
        return meter.cost(start_up)


def drain_by_engine(bench: Bench) -> Cost:
    """Let ClickHouse load by itself."""
    with bench.database() as (_, database), Meter(bench, database) as meter:
        attach(database, bench.kafka, TOPIC, topic_identity(bench.kafka, TOPIC))
        meter.await_rows(lambda: 0.0)
        detach(database)
        return meter.cost(0.0)


def drain_by_discarding(bench: Bench) -> Cost:
    """Only read."""
    group = f"discard-{uuid.uuid4().hex}"
    command = [sys.executable, "-m", "tests.support.discard", bench.kafka, TOPIC, group, str(bench.events)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DRAIN_SECONDS_MAX, check=True)
    cpu, seconds, messages = map(float, done.stdout.split())
    return Cost(cpu, 0.0, 0.0, 0, seconds, messages / seconds)


class Meter:
    """Reads the CPU clocks around one drain into one database."""

    def __init__(self, bench: Bench, database: ClickHouse) -> None:
        self._bench = bench
        self._database = database
        self._pid = bench.server.process.pid
        self._client = self._server = self._merges = self._seconds = 0.0

    def __enter__(self) -> Meter:
        """Measure ClickHouse's idle use, then start the clocks."""
        self._settle()
        before = cpu_seconds(self._pid)
        time.sleep(IDLE_SECONDS)
        self._idle_per_second = (cpu_seconds(self._pid) - before) / IDLE_SECONDS
        self._began, self._before = time.monotonic(), cpu_seconds(self._pid)
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is held."""

    def await_rows(self, client_cpu: Callable[[], float]) -> None:
        """Wait until every event is a row and read the clocks; then wait for the merges and read again."""
        await_true(lambda: self._rows() >= self._bench.events)
        self._client, self._seconds = client_cpu(), time.monotonic() - self._began
        self._server = self._since(self._before, self._began)
        before, began = cpu_seconds(self._pid), time.monotonic()
        self._settle()
        self._merges = self._since(before, began)

    def cost(self, start_up: float) -> Cost:
        """Return what was used; the rate is from the first part to the last, by the server's clock."""
        assert self._rows() == self._bench.events, "some events are stored twice"
        self._database.rows("SYSTEM FLUSH LOGS part_log")
        ((parts, rows, seconds),) = self._database.rows(
            "SELECT count(), sum(rows) - argMin(rows, event_time_microseconds),"
            " dateDiff('microsecond', min(event_time_microseconds), max(event_time_microseconds)) / 1e6"
            " FROM system.part_log WHERE event_type = 'NewPart' AND table = 'events' AND database = currentDatabase()"
        )
        # Of one part nobody knows when its first row came.
        rate = rows / seconds if seconds else self._bench.events / self._seconds
        return Cost(self._client - start_up, self._server, self._merges, parts, self._seconds, rate)

    def _rows(self) -> int:
        ((found,),) = self._database.rows("SELECT count() FROM events")
        return int(found)

    def _since(self, before: float, began: float) -> float:
        return cpu_seconds(self._pid) - before - self._idle_per_second * (time.monotonic() - began)

    def _settle(self) -> None:
        """Wait until nothing has been merged for a while."""
        deadline = time.monotonic() + SETTLE_SECONDS_MAX
        quiet_since = time.monotonic()
        while time.monotonic() - quiet_since < SETTLED_SECONDS and time.monotonic() < deadline:
            if self._database.rows("SELECT count() FROM system.merges")[0][0]:
                quiet_since = time.monotonic()
            time.sleep(POLL_SECONDS)


def cpu_seconds(pid: int) -> float:
    """Return the user and system time of a process, of all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def await_true(ask: Callable[[], bool]) -> None:
    """Wait, within the limit of a drain."""
    deadline = time.monotonic() + DRAIN_SECONDS_MAX
    while not ask():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not done after {DRAIN_SECONDS_MAX:g} s")
        time.sleep(POLL_SECONDS)


def median(costs: list[Cost]) -> Cost:
    """Return the median of each figure."""
    figures = ("client", "server", "merges", "parts", "seconds", "rows_per_second")
    return Cost(*(statistics.median(getattr(each, name) for each in costs) for name in figures))


def show(costs: dict[str, Cost], events: int) -> None:
    """Print the table: microseconds of CPU an event, and against the Kafka engine."""
    table = Table(box=box.SIMPLE, title=f"{events:,} events: microseconds of CPU an event, medians")
    for name in (
        "",
        "process",
        "ClickHouse",
        "together",
        "merges after",
        "ratio",
        "ratio with merges",
        "seconds",
        "rows/s",
    ):
        table.add_column(name, justify="left" if not name else "right", no_wrap=True)
    engine = costs["engine"]
    names = {
        "etl": "etl, exactly once",
        "discard": "the same consumer, discarding",
        "engine": "ClickHouse's Kafka engine, at least once",
    }
    for name, cost in costs.items():
        together = cost.client + cost.server
        against = together / engine.server, (together + cost.merges) / (engine.server + engine.merges)
        figures = [f"{value / events * 1e6:.2f}" for value in (cost.client, cost.server, together, cost.merges)]
        ratios = (f"{each:.2f}" for each in against)
        table.add_row(
            names[name], *figures, *ratios, f"{cost.parts:g}", f"{cost.seconds:.1f}", f"{cost.rows_per_second:,.0f}"
        )
    Console(width=COLUMNS).print(table)


def say(text: str) -> None:
    """Print a line of progress."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
