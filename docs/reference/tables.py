"""The reference page of the tables: what ClickHouse answers about them after all migrations."""

from __future__ import annotations

import tempfile
from pathlib import Path

from db.clickhouse.client import ClickHouse, connected
from db.clickhouse.schema import migrate
from local.clickhouse.server import clickhouse_program
from local.processes.ports import free_port
from local.processes.program import running

INTRODUCTION = """\
# Tables

This page lists the tables and views of the database `ugc`, with the type and meaning of each column, as ClickHouse
describes them after all migrations
([db/clickhouse/migrations](../../db/clickhouse/migrations/single/0001_events.sql)). Analysts read `events`; only the
etl and the `ugc-*` commands write.

On a cluster each table is a ReplicatedMergeTree on every shard, and `events_all`, `rejected_events_all` and
`replayed_events_all` are Distributed tables over all shards with the same columns: read those. `conservation` spans
the shards.
"""
TABLES = """
SELECT name, engine, comment, partition_key, sorting_key FROM system.tables
WHERE database = currentDatabase() ORDER BY name != 'events', name != 'rejected_events', name
"""
# ClickHouse keeps no comments for the columns of a view.
VIEW_COLUMNS = {
    "kafka_topic_id": "Identity of the Kafka topic",
    "kafka_partition": "Partition of the topic",
    "first_offset": "Smallest offset that is stored",
    "last_offset": "Largest offset that is stored",
    "rows": "Rows of `events` and `rejected_events` together",
    "missing": "Offsets up to the last event that are in neither table; 0 when nothing is lost",
    "repeated": "Rows whose offset has another row; 0 when nothing is stored twice",
}
COLUMNS = """
SELECT name, type, comment FROM system.columns
WHERE database = currentDatabase() AND table = %(table)s ORDER BY position
"""


def page() -> str:
    """Return the page, from a ClickHouse that is started for it."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder, running(clickhouse_program(Path(folder), port, free_port())):
        url = f"clickhouse://default@127.0.0.1:{port}/ugc"
        migrate(url)
        with connected(url) as clickhouse:
            return "\n".join([INTRODUCTION, *(part(clickhouse, *table) for table in clickhouse.rows(TABLES))])


def part(clickhouse: ClickHouse, name: str, engine: str, comment: str, partitions: str, order: str) -> str:
    """Return the section of one table."""
    layout = f"Engine {engine}"
    layout += f", partitioned by `{partitions}`" if partitions else ""
    layout += f", sorted by `{order}`" if order else ""
    rows = [
        f"| `{column}` | `{kind}` | {meaning or VIEW_COLUMNS[column]} |"
        for column, kind, meaning in clickhouse.rows(COLUMNS, {"table": name})
    ]
    header = "| column | type | meaning |\n|---|---|---|"
    return "\n".join([f"## {name}\n\n{comment}. {layout}.\n", header, *rows, ""])
