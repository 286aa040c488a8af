"""Processes that are killed, stopped, frozen or started once more."""

from __future__ import annotations

import json

from tests.cluster.conftest import Scenarios
from tests.support.cluster.cluster import Cluster
from tests.support.cluster.layout import ETL, INGEST, SECOND
from tests.support.processes.system import await_equal

# What ClickHouse answers to the second of two quorum inserts into one table that are not parallel.
QUORUM_STARTED = "Another quorum insert has been already started"
WATCHED_ACKNOWLEDGEMENTS = 4_000


def test_etl_killed(cluster: Cluster, scenarios: Scenarios) -> None:
    """The partitions of an etl that is killed are loaded by the other one, and again by it when it is back."""
    with scenarios.run("kill -9 an etl") as scenario:
        victim = cluster.layout.names(ETL)[0]
        cluster.kill(victim)
        scenario.watch.await_flow()
        scenario.heal(victim)


def test_etl_stopped(cluster: Cluster, scenarios: Scenarios) -> None:
    """The partitions of an etl that ends by SIGTERM are loaded by the other one."""
    with scenarios.run("SIGTERM to an etl") as scenario:
        victim = cluster.layout.names(ETL)[0]
        cluster.stop(victim)
        scenario.watch.await_flow()
        scenario.heal(victim)


def test_ingest_killed(cluster: Cluster, scenarios: Scenarios) -> None:
    """While either ingest is dead, the other one acknowledges events."""
    with scenarios.run("kill -9 an ingest, then the other one") as scenario:
        for victim in cluster.layout.names(INGEST):
            cluster.kill(victim)
            scenario.await_acknowledged()
            scenario.heal(victim)
            scenario.await_acknowledged()


def test_ingest_frozen(cluster: Cluster, scenarios: Scenarios) -> None:
    """While either ingest does not answer, the other one acknowledges the events of every client (F6)."""
    with scenarios.run("SIGSTOP an ingest, then the other one") as scenario:
        for victim in cluster.layout.names(INGEST):
            cluster.freeze(victim)
            scenario.await_acknowledged(2_000)
            scenario.heal(victim)
            scenario.await_acknowledged()


def test_two_etl_a_shard(cluster: Cluster, scenarios: Scenarios) -> None:
    """With twice as many etl as shards, every partition is loaded, and no insert collides with another (F7)."""
    with scenarios.run("two etl for each shard") as scenario:
        members = cluster.layout.names(ETL)
        before = {name: len(cluster.log(name)) for name in members}
        cluster.start(*cluster.layout.extra)
        await_equal(lambda: [name for name in cluster.layout.extra if not owns_partitions(cluster, name)], [])
        scenario.await_acknowledged(WATCHED_ACKNOWLEDGEMENTS)
        scenario.watch.await_flow()
        collisions = {
            name: errors
            for name in (*members, *cluster.layout.extra)
            if (errors := [line for line in cluster.log(name)[before.get(name, 0) :].splitlines() if collides(line)])
        }
        cluster.stop(*cluster.layout.extra)

    assert all(name.removesuffix(SECOND) in members for name in cluster.layout.extra)
    assert collisions == {}


def owns_partitions(cluster: Cluster, name: str) -> bool:
    """Whether partitions were assigned to an etl."""
    return '"partitions assigned"' in cluster.log(name)


def collides(line: str) -> bool:
    """Whether a line of the log is about an insert that met another one."""
    return line.startswith("{") and QUORUM_STARTED in str(json.loads(line).get("error", ""))
