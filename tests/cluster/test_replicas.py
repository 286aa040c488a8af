"""ClickHouse replicas that are killed or frozen: events are acknowledged, and rows of the other shard are stored."""

from __future__ import annotations

import pytest

from tests.cluster.conftest import Scenarios
from tests.support.cluster.cluster import Cluster

# Each etl is connected to the first replica of its shard.
FIRST, SECOND, OTHER = "clickhouse-1-1", "clickhouse-1-2", "clickhouse-2-2"
KILLED = {
    "kill -9 the replica that an etl is connected to": (1, [FIRST]),
    "kill -9 the other replica of the shard": (1, [SECOND]),
    "kill -9 a replica of the other shard": (2, [OTHER]),
    "kill -9 both replicas of a shard": (1, [FIRST, SECOND]),
}
FROZEN = {
    "SIGSTOP the replica that an etl is connected to": FIRST,
    "SIGSTOP the other replica of the shard": SECOND,
}


@pytest.mark.parametrize("name", KILLED)
def test_killed(cluster: Cluster, scenarios: Scenarios, name: str) -> None:
    """While replicas of one shard are dead, events are acknowledged, and rows of the other shard are stored."""
    shard, victims = KILLED[name]
    with scenarios.run(name) as scenario:
        others = scenario.watch.partitions_of(3 - shard)
        cluster.kill(*victims)
        scenario.await_acknowledged()
        scenario.watch.await_flow(others)
        scenario.heal(*victims)

    assert others


@pytest.mark.parametrize("name", FROZEN)
def test_frozen(cluster: Cluster, scenarios: Scenarios, name: str) -> None:
    """While a replica does not answer, events are acknowledged, and rows of the other shard are stored."""
    with scenarios.run(name) as scenario:
        others = scenario.watch.partitions_of(2)
        cluster.freeze(FROZEN[name])
        scenario.await_acknowledged()
        scenario.watch.await_flow(others)
        scenario.heal(FROZEN[name])

    assert others
