"""What ugc-migrate checks on every server of a cluster, and what it makes where one lacks a table."""

from __future__ import annotations

import pytest

from db.clickhouse.client import ClickHouse, RefusedError
from db.clickhouse.replicas import unsettled
from db.clickhouse.schema import LEDGER, LEDGER_NAME, is_up_to_date, migrate, tables_of
from db.clickhouse.servers import ServersDifferError, level, on_cluster, survey
from db.errors import ConflictError
from tests.support.processes.shards import CLUSTER, FILES, HALF, name_of, unreplicated

TABLES = tables_of(FILES)


def test_level_servers(shards: list[ClickHouse]) -> None:
    """Where every server has every table nothing is made."""
    found = survey(shards[0], CLUSTER, name_of(shards[0]), TABLES)

    assert found.servers == {"clickhouse-1-1", "clickhouse-2-1"}
    assert found.is_complete
    assert found.is_level(TABLES)
    assert level(shards[0], CLUSTER, name_of(shards[0]), TABLES) == []


def test_a_server_that_is_not_checked(shards: list[ClickHouse]) -> None:
    """One that does not answer is left out, and the others are level."""
    found = survey(shards[0], HALF, name_of(shards[0]), TABLES)

    assert found.servers == {"clickhouse-1-1"}
    assert not found.is_complete
    assert found.is_level(TABLES)


def test_what_a_dead_server_does_not_stop(servers: list[str], shards: list[ClickHouse]) -> None:
    """Where nothing is to be done, ugc-migrate ends well although a server does not answer; else it does not."""
    url = f"{servers[0]}/{name_of(shards[0])}"
    shards[0].rows(unreplicated(LEDGER.format(cluster="", engine="MergeTree")))
    record = "INSERT INTO schema_migrations SELECT '{0.name}', '{0.checksum}', now()"
    for each in FILES[:-1]:
        shards[0].rows(record.format(each))

    assert not is_up_to_date(url, HALF, FILES)

    shards[0].rows(record.format(FILES[-1]))

    assert is_up_to_date(url, HALF, FILES)
    assert migrate(url, HALF) == []
    assert not is_up_to_date(url, CLUSTER, FILES)

    shards[0].rows("DROP TABLE replayed_events_all SYNC")

    assert not is_up_to_date(url, HALF, FILES)


@pytest.mark.parametrize("table", TABLES)
def test_a_table_that_a_server_lacks(shards: list[ClickHouse], table: str) -> None:
    """A server that lacks a table is named, and the statement for it is that of a server that has the table."""
    shards[1].rows(f"DROP TABLE {table} SYNC")
    found = survey(shards[0], CLUSTER, name_of(shards[0]), TABLES)
    (definition,) = found.definitions[table].values()

    assert found.lacking(table) == ["clickhouse-2-1"]
    assert not found.is_level(TABLES)

    shards[1].rows(unreplicated(on_cluster(definition, CLUSTER)))
    assert survey(shards[0], CLUSTER, name_of(shards[0]), TABLES).is_level(TABLES)
    for connection in shards:
        connection.rows(unreplicated(on_cluster(definition, CLUSTER)))


def test_the_empty_server_is_seen_from_either(shards: list[ClickHouse]) -> None:
    """It does not matter whether the server that is asked is the empty one; the tables are made on it."""
    for table in TABLES:
        shards[1].rows(f"DROP TABLE {table} SYNC")

    for connection in shards:
        found = survey(connection, CLUSTER, name_of(shards[0]), TABLES)

        assert {table: found.lacking(table) for table in TABLES} == {table: ["clickhouse-2-1"] for table in TABLES}
    # Without Keeper nothing can be made on both servers at once, but it is tried.
    with pytest.raises(RefusedError, match=r"Keeper|DDL|ZooKeeper"):
        level(shards[1], CLUSTER, name_of(shards[0]), TABLES)


def test_tables_that_no_server_has(shards: list[ClickHouse]) -> None:
    """What an applied migration made and nobody has is not made anew, empty: a person must decide."""
    with pytest.raises(ConflictError, match=f"{LEDGER_NAME} was made by a migration"):
        level(shards[0], CLUSTER, name_of(shards[0]), [LEDGER_NAME])


def test_servers_that_differ(shards: list[ClickHouse]) -> None:
    """A column, an engine or a key that only one server has is named with the server."""
    shards[1].rows("ALTER TABLE events ADD COLUMN extra UInt8")

    with pytest.raises(ServersDifferError, match=r"table events is not the same .*clickhouse-2-1: .*extra"):
        level(shards[0], CLUSTER, name_of(shards[0]), TABLES)


def test_the_audit_asks_the_replicas(shards: list[ClickHouse]) -> None:
    """Tables that are no replicas, and a server that does not answer, leave open what is stored."""
    assert unsettled(shards[0], CLUSTER, 0) == ["4 tables are missing on servers"]
    assert unsettled(shards[0], HALF, 0) == ["a server of the cluster does not answer"]
