"""A replica that is lost for good: the commands of docs/operating/cluster.md make a new one (F4)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial

from local.settings import ROOT
from tests.cluster.conftest import Scenarios
from tests.support.cluster.cluster import Cluster
from tests.support.cluster.queries import QueryError, rows
from tests.support.documents.pages import blocks
from tests.support.processes.system import await_equal

PAGE = ROOT / "docs" / "operating" / "cluster.md"
SECTION = "Replacing a lost replica"
KEPT, LOST = "clickhouse-1-1", "clickhouse-1-2"
# Keeper ends the session of the dead server after 30 s, and ClickHouse refuses to drop its replica before.
SESSION_SECONDS_MAX = 120.0
# How many replicas have a session in Keeper; the page says when the new server may start.
ACTIVE = "SELECT DISTINCT active_replicas FROM system.replicas WHERE database = 'ugc' AND table LIKE '%events'"
QUEUE = "SELECT table, count() FROM system.replication_queue GROUP BY table"
ROWS = """
SELECT (SELECT (count(), groupBitXor(cityHash64(event_id, kafka_partition, kafka_offset))) FROM events),
    (SELECT (count(), groupBitXor(cityHash64(kafka_partition, kafka_offset))) FROM rejected_events)
"""


def documented() -> Sequence[str]:
    """Return the SQL statements of the procedure, in their order."""
    section = PAGE.read_text(encoding="utf-8").partition(f"\n## {SECTION}\n")[2].partition("\n## ")[0]
    statements = [text for block in blocks(section) if block.language == "sql" for text in block.text.split(";")]
    return [statement.strip() for statement in statements if statement.strip()]


def test_replaced(cluster: Cluster, scenarios: Scenarios) -> None:
    """While a replica is lost, the other shard is loaded; after the procedure all rows are on the new one."""
    drops = [each for each in documented() if each.startswith("SYSTEM DROP REPLICA")]
    restarts = [each for each in documented() if re.match(r"SYSTEM (RESTART|RESTORE|SYNC) REPLICA", each)]
    with scenarios.run("a replica is lost for good, and replaced") as scenario:
        others = scenario.watch.partitions_of(2)
        cluster.kill(LOST)
        cluster.wipe(LOST)
        scenario.watch.await_flow(others)
        await_equal(lambda: rows(cluster.member(KEPT), ACTIVE), [["1"]], SESSION_SECONDS_MAX)
        scenario.heal(LOST)
        for statement in drops:
            await_equal(partial(run, cluster, KEPT, statement), "", SESSION_SECONDS_MAX)
        cluster.migrate()
        await_equal(lambda: rows(cluster.member(LOST), QUEUE), [])
        for statement in restarts:
            assert run(cluster, LOST, statement) == ""
        scenario.watch.await_flow()

    assert others
    assert drops
    assert rows(cluster.member(LOST), ROWS) == rows(cluster.member(KEPT), ROWS)


def run(cluster: Cluster, name: str, statement: str) -> str:
    """Run a statement on a replica; return its error, or nothing."""
    try:
        rows(cluster.member(name), statement)
    except QueryError as error:
        return str(error)
    return ""
