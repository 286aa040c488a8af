"""Recoveries while a replica is away: which partitions go on, and that no row is stored twice."""

from __future__ import annotations

from tests.cluster.conftest import Scenarios
from tests.support.cluster.cluster import Cluster
from tests.support.cluster.layout import ETL
from tests.support.processes.system import await_equal


def test_etl_restarted_without_a_replica_of_the_other_shard(cluster: Cluster, scenarios: Scenarios) -> None:
    """While a replica of shard 2 is dead, an etl that was killed and started again loads shard 1 (F3)."""
    with scenarios.run("kill -9 a replica of one shard and an etl, the etl back at once") as scenario:
        first, replica = cluster.layout.names(ETL)[0], "clickhouse-2-2"
        others = scenario.watch.partitions_of(1)
        cluster.kill(replica)
        scenario.await_acknowledged()
        cluster.kill(first)
        cluster.start(first)
        scenario.watch.await_flow(others)
        scenario.heal(replica)

    assert others


def test_takeover_without_a_replica(cluster: Cluster, scenarios: Scenarios) -> None:
    """Partitions that were taken over while a replica of their shard was dead are loaded when it is back."""
    with scenarios.run("kill -9 a replica, then the etl of its shard, the replica back after the takeover") as scenario:
        victim, heir = cluster.layout.names(ETL)
        others, logged = scenario.watch.partitions_of(2), len(cluster.log(heir))
        cluster.kill("clickhouse-1-2")
        scenario.await_acknowledged()
        cluster.kill(victim)
        await_equal(lambda: '"partitions assigned"' in cluster.log(heir)[logged:], wanted=True)
        scenario.watch.await_flow(others)
        scenario.heal("clickhouse-1-2")
        scenario.watch.await_flow()
        cluster.start(victim)

    assert others
