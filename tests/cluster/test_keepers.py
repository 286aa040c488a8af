"""Keepers that are killed: one of three is not missed, and without any of them events wait in Kafka."""

from __future__ import annotations

from tests.cluster.conftest import Scenarios
from tests.support.cluster.cluster import Cluster
from tests.support.cluster.layout import KEEPER


def test_leading_keeper(cluster: Cluster, scenarios: Scenarios) -> None:
    """While the keeper is dead that led the others, events are acknowledged, and rows are stored."""
    with scenarios.run("kill -9 the leading keeper") as scenario:
        victim = next(name for name in cluster.layout.names(KEEPER) if cluster.keeper_mode(name) == "leader")
        cluster.kill(victim)
        scenario.await_acknowledged()
        scenario.watch.await_flow()
        scenario.heal(victim)


def test_all_keepers(cluster: Cluster, scenarios: Scenarios) -> None:
    """While all keepers are dead, events are acknowledged; once they are back, everything is stored."""
    with scenarios.run("kill -9 all three keepers") as scenario:
        cluster.kill(*cluster.layout.names(KEEPER))
        scenario.await_acknowledged(2_000)
        scenario.heal(*cluster.layout.names(KEEPER))
