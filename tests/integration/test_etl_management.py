"""The etl's probes and metrics, with real servers that are away, killed, blocked, or refuse rows."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from db.clickhouse.client import ClickHouse, connected
from db.clickhouse.schema import migrate
from db.kafka.topics import provision
from local.clickhouse.server import clickhouse_program
from local.kafka.files import QUICK
from local.kafka.server import kafka_program
from local.processes.ports import free_port
from local.processes.program import Child, Program, running
from tests.conftest import LAYOUT
from tests.support.inputs.events import numbered
from tests.support.processes.loading import SETTINGS, await_rows, identified, write
from tests.support.processes.management import Samples, scrape, value
from tests.support.processes.system import Deployment, await_equal, get

# The etl's timeouts of a call to ClickHouse and of its loop, in a process that ends after 125 s without progress.
PATIENT = {"UGC_ETL_ALIVE_SECONDS_MAX": "5", "UGC_ETL_ANSWER_SECONDS_MAX": "115"}
TABLES = {"events": ("accepted",), "rejected_events": ("undecodable", "duplicate", "refused")}


def managed(folder: Path, kafka: str, topic: str, database: str, **settings: str) -> tuple[Deployment, str]:
    """Return the deployment of an etl with a management listener, and its address."""
    address = f"127.0.0.1:{free_port()}"
    own = SETTINGS | settings | {"UGC_ETL_MANAGEMENT_LISTEN": address}
    return Deployment(folder, kafka, topic, database, own), address


def etl(deployment: Deployment, address: str) -> Program:
    """Return the etl, which counts as started when its listener answers."""
    return replace(deployment.etl(), ready=lambda: probe(address, "/livez") == 200)


def probe(address: str, path: str) -> int:
    return get(f"http://{address}{path}")[0]


def rows(found: Samples) -> dict[str, float]:
    """Return the rows by their reason, without the reasons that no row has."""
    every = {
        reason: value(found, "ugc_etl_rows_total", table=table, reason=reason)
        for table, reasons in TABLES.items()
        for reason in reasons
    }
    return {reason: count for reason, count in every.items() if count}


def partition(found: Samples, name: str, number: int = 0) -> float | None:
    return found.get((f"ugc_etl_{name}", (("kafka_partition", str(number)),)))


def state(found: Samples, number: int = 0) -> str:
    """Return the state of a partition."""
    name = "ugc_etl_partition_state"
    states = [
        dict(labels)["state"]
        for (family, labels), current in found.items()
        if family == name and current and dict(labels)["kafka_partition"] == str(number)
    ]
    return ",".join(states)


@contextmanager
def own_clickhouse(folder: Path) -> Iterator[tuple[Program, Child, str]]:
    """Run a ClickHouse server that the test may kill; yield it with the URL of a database with the tables."""
    port = free_port()
    program = clickhouse_program(folder / "clickhouse", port, free_port())
    with running(program) as child:
        url = f"clickhouse://default@127.0.0.1:{port}/ugc"
        migrate(url)
        yield program, child, url


def test_ready_once_it_has_joined(tmp_path: Path, clickhouse: str) -> None:
    """While Kafka is away the etl is alive and not ready; when Kafka is there, it joins the group and is ready."""
    database, port = f"{clickhouse}/kafka_away", free_port()
    migrate(database)
    deployment, address = managed(tmp_path, f"127.0.0.1:{port}", "late", database)
    with running(etl(deployment, address)):
        await_equal(lambda: get(f"http://{address}/livez"), (200, b"ok\n"))
        status, reason = get(f"http://{address}/readyz")
        assert (status, b"has not joined the consumer group" in reason) == (503, True)
        assert value(scrape(address), "ugc_etl_joined") == 0
        with running(kafka_program(tmp_path / "kafka", port, free_port(), java_options=[QUICK])) as broker:
            provision(deployment.kafka, deployment.topic, LAYOUT)
            await_equal(lambda: get(f"http://{address}/readyz"), (200, b"ok\n"))
            await_equal(lambda: value(scrape(address), "ugc_etl_topic_partitions"), LAYOUT.partitions)
            await_equal(
                lambda: [state(scrape(address), number) for number in range(LAYOUT.partitions)],
                ["loading"] * LAYOUT.partitions,
            )
            await_equal(lambda: probe(address, "/readyz"), 200)
            found = scrape(address)
            assert value(found, "ugc_etl_joined") == 1
            assert value(found, "ugc_etl_partitions_owned") == LAYOUT.partitions
            assert value(found, "ugc_kafka_client_errors_total", error="_TRANSPORT") > 0
            broker.process.send_signal(signal.SIGSTOP)
            await_equal(lambda: probe(address, "/readyz"), 503)
            assert probe(address, "/livez") == 200
            broker.process.send_signal(signal.SIGCONT)
            await_equal(lambda: probe(address, "/readyz"), 200)


def test_ready_without_partitions(tmp_path: Path, kafka: str, topic: str, database: str) -> None:
    """A member whose group has fewer partitions than members is ready, and has no samples of a partition."""
    members = [managed(tmp_path / str(number), kafka, topic, database) for number in range(LAYOUT.partitions + 1)]

    def owned() -> list[float]:
        return sorted(value(scrape(address), "ugc_etl_partitions_owned") for _, address in members)

    def ready() -> list[int]:
        return [probe(address, "/readyz") for _, address in members]

    with ExitStack() as stack:
        for deployment, address in members:
            stack.enter_context(running(etl(deployment, address)))
        await_equal(owned, [0] + [1] * LAYOUT.partitions)
        await_equal(ready, [200] * len(members))
        for _, address in members:
            found = scrape(address)
            samples = [labels for name, labels in found if name == "ugc_etl_lag_messages"]
            assert len(samples) <= value(found, "ugc_etl_partitions_owned")


def test_ready_while_one_is_halted(tmp_path: Path, kafka: str, topic: str, database: str, tables: ClickHouse) -> None:
    """A partition of which ClickHouse refuses too much is halted: the process is ready, and names it."""
    tables.rows("ALTER TABLE events ADD CONSTRAINT no_poison CHECK event != 'poison'")
    deployment, address = managed(tmp_path, kafka, topic, database, UGC_ETL_REFUSED_IN_A_ROW_MAX="20")
    poison = [numbered(number) for number in range(60)]
    for event in poison:
        event.payload.event = "poison"
    with running(etl(deployment, address)):
        write(deployment, [identified(numbered(100 + number)) for number in range(5)], partition=1)
        await_rows(tables, 5)
        assert probe(address, "/readyz") == 200
        write(deployment, map(identified, poison))
        await_equal(lambda: state(scrape(address)), "halted")

        status, reason = get(f"http://{address}/readyz")
        assert (status, reason) == (200, b"ok\npartition 0 is halted: ClickHouse refuses too many of its rows\n")
        assert probe(address, "/livez") == 200
        write(deployment, [identified(numbered(200 + number)) for number in range(5)], partition=1)
        await_rows(tables, 10)
        found = scrape(address)
        assert state(found, 1) == "loading"
        assert value(found, "ugc_etl_inserts_total", outcome="refused") >= 1
        assert rows(found) == {"accepted": 10}
        assert partition(found, "lag_messages") == 60


def test_not_alive_while_an_insert_blocks(tmp_path: Path, kafka: str, topic: str) -> None:
    """An insert that is never answered is not progress: the etl is not alive until it is answered, then also ready."""
    with own_clickhouse(tmp_path) as (_, server, url), connected(url) as tables:
        deployment, address = managed(tmp_path, kafka, topic, url, **PATIENT)
        with running(etl(deployment, address)):
            write(deployment, [identified(numbered(1))])
            await_rows(tables, 1)
            server.process.send_signal(signal.SIGSTOP)
            try:
                write(deployment, [identified(numbered(2))])
                await_equal(lambda: probe(address, "/livez"), 503)
                found = scrape(address)
                assert time.time() - value(found, "ugc_etl_loop_timestamp_seconds") > 5
                await_equal(lambda: partition(scrape(address), "lag_messages"), 1)
            finally:
                server.process.send_signal(signal.SIGCONT)
            await_equal(lambda: probe(address, "/livez"), 200)
            await_rows(tables, 2)
            await_equal(lambda: partition(scrape(address), "lag_messages"), 0)
            assert probe(address, "/readyz") == 200


def test_clickhouse_is_killed(tmp_path: Path, kafka: str, topic: str) -> None:
    """While ClickHouse is killed: inserts fail, the lag grows, complete-through stands still; then all are stored."""
    with own_clickhouse(tmp_path) as (program, server, url):
        deployment, address = managed(tmp_path, kafka, topic, url)
        values = [identified(numbered(number)) for number in range(10)]
        with running(etl(deployment, address)):
            write(deployment, [*values, values[0], b"\xff"])
            await_equal(lambda: rows(scrape(address)), {"accepted": 10, "duplicate": 1, "undecodable": 1})
            await_equal(
                lambda: (partition(scrape(address), "complete_through_timestamp_seconds") or 0) > 0, wanted=True
            )
            server.kill()
            write(deployment, [identified(numbered(20))])
            await_equal(lambda: probe(address, "/readyz"), 503)
            found = scrape(address)
            assert value(found, "ugc_etl_inserts_total", outcome="failed") > 0
            assert state(found) == "failing"
            before = partition(found, "complete_through_timestamp_seconds")
            write(deployment, [identified(numbered(21)), identified(numbered(22))])
            await_equal(lambda: partition(scrape(address), "lag_messages"), 3)
            assert partition(scrape(address), "complete_through_timestamp_seconds") == before
            assert probe(address, "/livez") == 200

            with running(program):
                await_equal(lambda: probe(address, "/readyz"), 200)
                await_equal(lambda: rows(scrape(address)), {"accepted": 13, "duplicate": 1, "undecodable": 1})
                await_equal(lambda: partition(scrape(address), "lag_messages"), 0)
                now = time.time()
                await_equal(
                    lambda: (partition(scrape(address), "complete_through_timestamp_seconds") or 0) > now - 6,
                    wanted=True,
                )
                found = scrape(address)
                assert value(found, "ugc_etl_recoveries_total") >= 1
                assert value(found, "ugc_etl_end_to_end_seconds_count") >= 2
                assert state(found) == "loading"
