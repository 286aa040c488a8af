"""What the commands change while a replica is dead: replays send each message once, migrations name the host."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from confluent_kafka import Producer

from db.clickhouse.client import connected
from db.clickhouse.servers import AbsentServersError, run_on_servers
from tests.cluster.conftest import Scenarios
from tests.support.cluster.cluster import TOPIC, Cluster
from tests.support.cluster.layout import CLICKHOUSE
from tests.support.cluster.queries import any_rows, rows
from tests.support.processes.system import await_equal

# Of shard 1, which the URL of the commands names first; and a server of the other shard.
DEAD, OTHER = "clickhouse-1-1", "clickhouse-2-1"
MESSAGES = 1_200
RUNS = 2
FLUSH_SECONDS = 30
WAITS_SHORTLY = {"UGC_MIGRATE_WAIT_SECONDS_MAX": "5"}
COPIES = """
SELECT copies, count() FROM (SELECT raw, count() AS copies FROM rejected_events_all WHERE startsWith(raw, '{marker}')
GROUP BY raw) GROUP BY copies ORDER BY copies
"""
TABLE = "replayed_events_all"
EXISTS = f"EXISTS TABLE ugc.{TABLE}"


def test_replays(cluster: Cluster, scenarios: Scenarios) -> None:
    """Replays at the same time, beside an etl and with a dead replica, send each message once, and all of them."""
    marker = uuid.uuid4().hex

    def copies() -> list[list[str]]:
        return any_rows(cluster.layout.of(CLICKHOUSE), COPIES.format(marker=marker))

    with scenarios.run("two replays at once while a replica is dead") as scenario:
        producer = Producer({"bootstrap.servers": cluster.layout.bootstrap})
        for number in range(MESSAGES):
            producer.produce(TOPIC, f"{marker} {number}".encode())
        assert producer.flush(FLUSH_SECONDS) == 0
        await_equal(copies, [["1", str(MESSAGES)]])
        command = f"ugc-replay --reason undecodable --until {datetime.now(UTC).isoformat()}"
        cluster.kill(DEAD)
        with ThreadPoolExecutor(RUNS) as pool:
            done = list(pool.map(cluster.run, [command] * RUNS))
        # Two runs that claim the same message may both withdraw.
        done.append(cluster.run(command))
        scenario.heal(DEAD)
        scenario.watch.await_flow()
        await_equal(copies, [["2", str(MESSAGES)]])

    assert all(each.returncode in (0, 1) for each in done), [each.stdout + each.stderr for each in done]
    assert done[-1].returncode == 0


def test_migrations(cluster: Cluster, scenarios: Scenarios) -> None:
    """With a dead replica, `ugc-migrate` names it: as a warning, or as its error when a table must be created."""
    host = cluster.member(DEAD).address("native")
    other = cluster.member(OTHER)
    with scenarios.run("ugc-migrate while a replica is dead") as scenario:
        cluster.kill(DEAD)
        nothing = cluster.run("ugc-migrate")
        with (
            connected(cluster.url(OTHER)) as server,
            pytest.raises(AbsentServersError, match=f"^{host} has not run a statement"),
        ):
            run_on_servers(server, "CREATE DATABASE IF NOT EXISTS ugc ON CLUSTER 'ugc'")
        rows(other, f"DROP TABLE ugc.{TABLE} SYNC")
        something = cluster.run("ugc-migrate", WAITS_SHORTLY)
        assert rows(other, EXISTS) == [["0"]]
        scenario.heal(DEAD)
        cluster.migrate()

    assert rows(other, EXISTS) == [["1"]]
    assert nothing.returncode == 0
    assert f'"{host}"' in nothing.stdout + nothing.stderr
    last = (something.stdout + something.stderr).splitlines()[-1]
    assert (something.returncode, host in last, "cannot migrate" in last) == (1, True, True), last
