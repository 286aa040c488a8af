"""The whole cluster: nothing fails, or everything is restarted, one after the other."""

from __future__ import annotations

from tests.cluster.conftest import Scenarios
from tests.support.cluster.cluster import PROCESSES, SERVERS, Cluster
from tests.support.cluster.health import await_healthy
from tests.support.cluster.layout import CLICKHOUSE, GATEWAY
from tests.support.cluster.queries import any_rows
from tests.support.cluster.scenario import CONSERVATION

SAMPLES = 20


def test_nothing_fails(cluster: Cluster, scenarios: Scenarios) -> None:
    """Events are stored, and the view `conservation` is clean at any time of a load with repeats."""
    with scenarios.run("nothing fails") as scenario:
        for _ in range(SAMPLES):
            scenario.await_acknowledged(100)
            assert any_rows(cluster.layout.of(CLICKHOUSE), CONSERVATION) == [["0", "0"]]


def test_rolling_restart(cluster: Cluster, scenarios: Scenarios) -> None:
    """Everything but the only gateway is restarted in the documented order, and events are stored after each step."""
    with scenarios.run("rolling restart of everything but the gateway") as scenario:
        for name in cluster.layout.names(*SERVERS, *(kind for kind in PROCESSES if kind != GATEWAY)):
            cluster.restart(name)
            scenario.watch.await_flow()
            await_healthy(cluster, under_load=True)
