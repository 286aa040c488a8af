"""What operators read and run: the tables of all shards, and the commands with a dead replica and from any node."""

from __future__ import annotations

import pytest

from tests.cluster.conftest import Scenarios
from tests.support.cluster.cluster import Cluster
from tests.support.cluster.layout import CLICKHOUSE
from tests.support.cluster.queries import any_rows, scalar

COMMANDS = ("ugc-migrate", "ugc-audit", "ugc-replay --reason duplicate --dry-run")
DEAD = ("clickhouse-1-1", "clickhouse-2-2")
# The audit cannot be certain of rows that only the dead replica holds.
UNSETTLED = 3
WITH_DEAD_REPLICA = {"ugc-audit": UNSETTLED}
# Each of them through the tables of all shards, and without the settings with which a shard is left out.
PRUNED = {"optimize_skip_unused_shards": 1}
READS = (
    "SELECT count() FROM events_all WHERE user_id = (SELECT min(user_id) FROM events_all)",
    "SELECT count() FROM (SELECT user_id FROM events_all GROUP BY user_id)",
    "SELECT count() FROM events_all WHERE kafka_partition = 0",
    "SELECT count() FROM rejected_events_all WHERE kafka_partition = 1",
)
PLACES = "SELECT DISTINCT kafka_partition % 2, _shard_num FROM {table} ORDER BY ALL"
ENGINE = "SELECT engine_full FROM system.tables WHERE database = 'ugc' AND name = '{table}'"
TABLES = ("events_all", "rejected_events_all")


@pytest.mark.parametrize("dead", DEAD)
def test_commands_without_a_replica(cluster: Cluster, scenarios: Scenarios, dead: str) -> None:
    """While a replica is dead, migrate and replay end with 0, and the audit finds no breach."""
    with scenarios.run(f"migrate, audit and replay while {dead} is dead") as scenario:
        cluster.kill(dead)
        done = {command: cluster.run(command) for command in COMMANDS}
        scenario.heal(dead)

    assert {command: each.returncode for command, each in done.items()} == {
        command: WITH_DEAD_REPLICA.get(command, 0) for command in COMMANDS
    }, {command: each.stdout + each.stderr for command, each in done.items()}
    host = cluster.member(dead).address("native")
    assert f"UNSETTLED {host} of the cluster does not answer" in done["ugc-audit"].stdout
    assert host in done["ugc-migrate"].stdout + done["ugc-migrate"].stderr
    assert "BREACH" not in done["ugc-audit"].stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_from_any_node(cluster: Cluster, command: str) -> None:
    """Each command ends with 0 with the URL of any replica, and its lines are not cut in a pipe (F9)."""
    for name in cluster.layout.names(CLICKHOUSE):
        done = cluster.run(command, {"UGC_CLICKHOUSE_URL": cluster.url(name)})

        assert done.returncode == 0, f"{name}: {done.stdout}{done.stderr}"
        assert "…" not in done.stdout


def test_rows_follow_their_partition(cluster: Cluster, scenarios: Scenarios) -> None:
    """A row is on the shard that its Kafka partition determines, whichever etl has loaded it (F7)."""
    with scenarios.run("reads of all shards"):
        pass

    for table in TABLES:
        assert any_rows(cluster.layout.of(CLICKHOUSE), PLACES.format(table=table)) == [["0", "1"], ["1", "2"]], table


@pytest.mark.parametrize("query", READS)
def test_reads_of_pruned_shards(cluster: Cluster, query: str) -> None:
    """A query has the same result with optimize_skip_unused_shards, which some turn on for speed (F8)."""
    replica = cluster.layout.of(CLICKHOUSE)[0]

    assert scalar(replica, query, **PRUNED) == scalar(replica, query)


@pytest.mark.parametrize("table", TABLES)
def test_declared_placement(cluster: Cluster, table: str) -> None:
    """The tables of all shards declare where rows are: on the shard of their Kafka partition (F8)."""
    assert "kafka_partition" in scalar(cluster.layout.of(CLICKHOUSE)[0], ENGINE.format(table=table))
