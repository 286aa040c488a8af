"""Checks that every replica of a cluster has caught up; until then rows may be missing from a count."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from db.clickhouse.client import ClickHouse, RefusedError
from db.clickhouse.servers import ALL_CONNECTION_TRIES_FAILED, absent_servers

SETTLE_SECONDS_MAX = 15.0
SETTLE_POLL_SECONDS = 0.3
# The blocks that a replica has not fetched, and the time of the oldest; blocks that wait for their quorum are included.
# Both log columns are 0 for a table without inserts.
REPLICAS = """
SELECT getMacro('replica'), table, is_readonly, inserts_in_queue, toUnixTimestamp(inserts_oldest_time),
    log_max_index > 0 AND log_max_index >= log_pointer
FROM clusterAllReplicas('{cluster}', system.replicas)
WHERE database = currentDatabase() AND table IN ('events', 'rejected_events')
SETTINGS skip_unavailable_shards = 0
"""
EXPECTED = "SELECT count() FROM system.clusters WHERE cluster = %(cluster)s"
NOW = "SELECT toUnixTimestamp(now())"
TABLES = 2


@dataclass(frozen=True)
class Replica:
    """The state of one table on one server."""

    server: str
    table: str
    is_readonly: bool
    waiting: int
    oldest: int
    is_behind: bool

    def problem(self, since: int) -> str | None:
        """Return why rows that were stored before `since` may be missing here; None if none can be."""
        where = f"{self.table} on {self.server}"
        if self.is_readonly:
            return f"{where} is read-only: it has lost its connection to Keeper"
        if self.waiting and self.oldest <= since:
            return f"{where} has not fetched {self.waiting} blocks"
        if self.is_behind:
            return f"{where} has not read the whole log of its table"
        return None


def unsettled(
    connection: ClickHouse,
    cluster: str,
    seconds_max: float = SETTLE_SECONDS_MAX,
    sleep: Callable[[float], None] = time.sleep,
) -> list[str]:
    """Wait until every replica has the rows stored before the call; return the reasons why one has not."""
    ((since,),) = connection.rows(NOW)
    deadline = time.monotonic() + seconds_max
    while problems := current_problems(connection, cluster, since):
        if time.monotonic() >= deadline:
            break
        sleep(SETTLE_POLL_SECONDS)
    return problems


def current_problems(connection: ClickHouse, cluster: str, since: int) -> list[str]:
    """Return the problems that one query finds."""
    try:
        replicas = [Replica(*row) for row in connection.rows(REPLICAS.format(cluster=cluster))]
    except RefusedError as error:
        if error.code != ALL_CONNECTION_TRIES_FAILED:
            raise
        # One that has come back in the meantime was not asked.
        absent = absent_servers(connection, cluster) or ["a server"]
        return [f"{host} of the cluster does not answer" for host in absent]
    ((expected,),) = connection.rows(EXPECTED, {"cluster": cluster})
    problems = [problem for each in replicas if (problem := each.problem(since))]
    missing = TABLES * expected - len(replicas)
    return [f"{missing} tables are missing on servers", *problems] if missing > 0 else problems
