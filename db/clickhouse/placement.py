"""Declares on which shard rows are: the sharding key of the Distributed tables, as long as no row contradicts it.

Rows are on the shard `kafka_partition modulo shards`, except those from before this rule or from another number of
shards. A key that is not true of all rows gives wrong answers with `optimize_skip_unused_shards`, so that it is checked
against the rows, and withdrawn if it is not true.
"""

from __future__ import annotations

import logging

from common.logs import log_limited
from db.clickhouse.client import ClickHouse
from db.clickhouse.servers import absent_servers, run_on_servers

KEY = "kafka_partition"
# The tables that the etl writes. Claims of ugc-replay are on the shard of the server to which it was connected.
TABLES = ("events", "rejected_events")
# One row is enough; one column of small numbers is read. Without the setting the key itself would hide the row.
MISPLACED = """
SELECT 1 FROM {table}_all WHERE kafka_partition % {shards} != _shard_num - 1 LIMIT 1
SETTINGS optimize_skip_unused_shards = 0, skip_unavailable_shards = 0
"""
SHARDS = "SELECT max(shard_num), uniqExact(shard_weight) FROM system.clusters WHERE cluster = %(cluster)s"
ENGINE = "SELECT engine_full FROM system.tables WHERE database = currentDatabase() AND name = %(table)s"


def declare_placement(server: ClickHouse, cluster: str) -> None:
    """Give the Distributed tables the key that is true of their rows; nothing while a server does not answer."""
    if absent_servers(server, cluster):
        return
    for table in TABLES:
        engines = server.rows(ENGINE, {"table": f"{table}_all"})
        if not engines or (wanted := is_true(server, cluster, table)) is has_key(str(engines[0][0])):
            continue
        run_on_servers(server, definition(cluster, table, keyed=wanted, on_cluster=f" ON CLUSTER '{cluster}'"))
        if wanted:
            log_limited(logging.INFO, "sharding key declared", kind=table, table=f"{table}_all", key=KEY)
        else:
            log_limited(logging.INFO, "sharding key withdrawn", kind=table, table=f"{table}_all", key=KEY)


def is_true(server: ClickHouse, cluster: str, table: str) -> bool:
    """Return whether every row of a table is on the shard that its partition determines."""
    ((shards, weights),) = server.rows(SHARDS, {"cluster": cluster})
    return weights == 1 and not server.rows(MISPLACED.format(table=table, shards=shards))


def has_key(engine: str) -> bool:
    """Return whether a Distributed engine has the key."""
    return engine.removesuffix(")").endswith(f", {KEY}")


def definition(cluster: str, table: str, *, keyed: bool, on_cluster: str = "") -> str:
    """Return the statement that replaces the Distributed table of a table, with the key or without one."""
    key = f", {KEY}" if keyed else ""
    return (
        f"CREATE OR REPLACE TABLE {table}_all{on_cluster} AS {table} "
        f"ENGINE = Distributed('{cluster}', currentDatabase(), '{table}'{key})"
    )
