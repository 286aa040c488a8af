"""The cluster's migrations create the tables of a single server, in SQL that ClickHouse parses; without a cluster."""

from __future__ import annotations

import re

import pytest

from db.clickhouse.client import ClickHouse
from db.clickhouse.schema import MIGRATIONS, Migration, migrations

CLUSTER = migrations(MIGRATIONS / "cluster")
SINGLE = migrations(MIGRATIONS / "single")
# How a statement for a cluster differs, and its replacement for a single server.
DIFFERENCES = (
    (r" ON CLUSTER '\{cluster_name\}'", ""),
    (
        r"ENGINE = Replicated(\w*MergeTree)\('/clickhouse/tables/\{shard\}/\{database\}/\w+', '\{replica\}'\)",
        r"ENGINE = \1",
    ),
    (r"\breplicated_deduplication_window", "non_replicated_deduplication_window"),
    (r"\b(events|rejected_events)_all\b", r"\1"),
)
# Files for Distributed tables only.
CLUSTER_ONLY = {"0007_sharding_keys.sql"}
DISTRIBUTED = r"ENGINE = Distributed|ALTER TABLE \w+_all "


def as_single(migration: Migration) -> list[str]:
    """Return the statements as for a single server, without those for Distributed tables."""
    statements = [each for each in migration.statements() if not re.search(DISTRIBUTED, each)]
    for pattern, replacement in DIFFERENCES:
        statements = [re.sub(pattern, replacement, each) for each in statements]
    return statements


def test_both_have_the_same_files() -> None:
    """Each migration for a single server has one for a cluster with the same name."""
    assert [each.name for each in CLUSTER if each.name not in CLUSTER_ONLY] == [each.name for each in SINGLE]


@pytest.mark.parametrize("single", SINGLE, ids=lambda each: each.name)
def test_both_create_the_same_tables(single: Migration) -> None:
    """Except for replication and distribution, the statements are identical."""
    (cluster,) = [each for each in CLUSTER if each.name == single.name]

    assert as_single(cluster) == single.statements()


@pytest.mark.parametrize("cluster", CLUSTER, ids=lambda each: each.name)
def test_clickhouse_parses_the_statements(cluster: Migration, tables: ClickHouse) -> None:
    """ClickHouse parses each statement for a cluster, and each is replicated or spans the shards."""
    for statement in cluster.statements():
        text = statement.replace("{cluster_name}", "ugc")

        assert tables.rows(f"EXPLAIN AST {text}")
        assert "ON CLUSTER 'ugc'" in text
        assert re.search(r"ENGINE = (Replicated|Distributed)|CREATE (OR REPLACE )?VIEW|ALTER TABLE", text)
