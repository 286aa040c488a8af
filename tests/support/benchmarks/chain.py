"""The whole chain on one machine, for the benchmark `chain`: ingest, gateway, Kafka, etl and ClickHouse."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from db.clickhouse.client import ClickHouse, connected
from db.clickhouse.schema import migrate
from local.clickhouse.server import clickhouse_program
from local.processes.ports import free_port
from local.processes.program import Program, running
from local.settings import ROOT
from tests.support.benchmarks.report import THIS_PROJECT
from tests.support.benchmarks.systems import Clone, System, kafka, topic_of, tree
from tests.support.load.bodies import event_id
from tests.support.processes.management import NO_MANAGEMENT

DATABASE = "ugc"
POLL_SECONDS = 0.02
INSERTED = "event_type = 'NewPart' AND table = 'events' AND database = currentDatabase()"
VISIBLE_SECONDS_MAX = 120.0


@dataclass(frozen=True)
class Chain:
    """The running chain; the pids of all its processes are in `system`."""

    system: System
    tables: ClickHouse

    def rows(self) -> int:
        """Return the number of rows that a query sees."""
        ((found,),) = self.tables.rows("SELECT count() FROM events")
        return int(found)

    def await_rows(self, count: int) -> None:
        """Wait until so many rows are visible."""
        deadline = time.monotonic() + VISIBLE_SECONDS_MAX
        while (found := self.rows()) < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{found} of {count} rows are visible after {VISIBLE_SECONDS_MAX:g} s")
            time.sleep(POLL_SECONDS)
        assert found == count, "some events are stored twice"

    @contextlib.contextmanager
    def without_merges(self) -> Iterator[None]:
        """Keep each row in the part with which it became visible."""
        self.tables.rows("SYSTEM STOP MERGES events")
        yield
        self.tables.rows("SYSTEM START MERGES events")

    def loading_seconds(self, since: float) -> float:
        """Return the seconds between the first and the last part that were inserted since a Unix time.

        The first part is as late as the last: both waited for one flush.
        """
        self.tables.rows("SYSTEM FLUSH LOGS part_log")
        ((seconds,),) = self.tables.rows(
            "SELECT dateDiff('microsecond', min(event_time_microseconds), max(event_time_microseconds)) / 1e6"
            f" FROM system.part_log WHERE {INSERTED} AND event_time_microseconds > toDateTime64(%(since)s, 6)",
            {"since": since},
        )
        return float(seconds)

    def delays(self, answered: Mapping[int, float]) -> list[float]:
        """Return the seconds between the acknowledgement of each event and the commit of its row's part.

        The part log has the time of the commit; merges must have been off since then.
        """
        self.tables.rows("SYSTEM FLUSH LOGS part_log")
        visible = self.tables.rows(
            "SELECT toString(event_id), toUnixTimestamp64Micro(log.event_time_microseconds) / 1e6"
            f" FROM events JOIN (SELECT * FROM system.part_log WHERE {INSERTED}) AS log ON log.part_name = events._part"
        )
        times = {str(identity): float(at) for identity, at in visible}
        return [times[str(event_id(number))] - at for number, at in answered.items()]


@contextlib.contextmanager
def running_chain(folder: Path, settings: Mapping[str, str] = MappingProxyType({})) -> Iterator[Chain]:
    """Run everything, with the settings that an installation has by default and those given."""
    port = free_port()
    url = f"clickhouse://default@127.0.0.1:{port}/{DATABASE}"
    server = clickhouse_program(folder / "clickhouse", port, free_port())
    with kafka(folder) as (bootstrap, broker), running(server) as clickhouse:
        migrate(url)
        with (
            tree(THIS_PROJECT, Clone(ROOT, settings), folder, bootstrap) as system,
            running(etl(folder, bootstrap, url, settings)) as loader,
            connected(url) as tables,
        ):
            pids = {"etl": loader.process.pid, "ClickHouse": clickhouse.process.pid, "kafka": broker}
            yield Chain(System(system.name, system.http, system.grpc, {**system.pids, **pids}), tables)


def etl(folder: Path, bootstrap: str, url: str, settings: Mapping[str, str]) -> Program:
    """Return the etl; it is ready when it has partitions."""
    log = folder / "etl.log"
    return Program(
        name="etl",
        argv=(sys.executable, "-m", "etl"),
        log=log,
        environment={
            **NO_MANAGEMENT,
            "UGC_KAFKA_BOOTSTRAP_SERVERS": bootstrap,
            "UGC_KAFKA_TOPIC": topic_of(THIS_PROJECT),
            "UGC_CLICKHOUSE_URL": url,
            **settings,
        },
        ready=lambda: "partitions assigned" in log.read_text(encoding="utf-8"),
    )
