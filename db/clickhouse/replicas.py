"""Whether every replica of a cluster has what the others have: until then nobody can count what is stored."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from db.clickhouse.client import ClickHouse, RefusedError
from db.clickhouse.servers import ALL_CONNECTION_TRIES_FAILED

SETTLE_SECONDS_MAX = 15.0
SETTLE_POLL_SECONDS = 0.3
# What a replica has not fetched, and since when; a block that waits for its quorum is among it. Both log columns are 0
# for a table into which nobody has inserted.
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
    """A table on a server: what it waits for."""

    server: str
    table: str
    is_readonly: bool
    waiting: int
    oldest: int
    is_behind: bool

    def complaint(self, since: int) -> str | None:
        """Say why rows that were stored before a moment may be missing here; None when they are not."""
        where = f"{self.table} on {self.server}"
        if self.is_readonly:
            return f"{where} is read-only: it has lost Keeper"
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
    """Wait until every replica has all that was stored before this moment; return why that is not so, if it is not."""
    ((since,),) = connection.rows(NOW)
    deadline = time.monotonic() + seconds_max
    while complaints := complain(connection, cluster, since):
        if time.monotonic() >= deadline:
            break
        sleep(SETTLE_POLL_SECONDS)
    return complaints


def complain(connection: ClickHouse, cluster: str, since: int) -> list[str]:
    """Ask once."""
    try:
        replicas = [Replica(*row) for row in connection.rows(REPLICAS.format(cluster=cluster))]
    except RefusedError as error:
        if error.code != ALL_CONNECTION_TRIES_FAILED:
            raise
        return ["a server of the cluster does not answer"]
    ((expected,),) = connection.rows(EXPECTED, {"cluster": cluster})
    lacking = [f"{TABLES * expected - len(replicas)} tables are missing on servers"] * (
        len(replicas) < TABLES * expected
    )
    return lacking + [complaint for each in replicas if (complaint := each.complaint(since))]
