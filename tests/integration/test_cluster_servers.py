"""How `ugc-migrate` checks the servers of a cluster and creates the tables that one of them lacks."""

from __future__ import annotations

import re
import socket

import pytest

from db.clickhouse.client import ClickHouse, RefusedError, connected
from db.clickhouse.replicas import unsettled
from db.clickhouse.schema import LEDGER, LEDGER_NAME, is_up_to_date, migrate, tables_of
from db.clickhouse.servers import AbsentServersError, ServersDifferError, create_missing_tables, on_cluster, survey
from db.errors import ConflictError
from etl.servers import host_of
from tests.support.processes.shards import CLUSTER, FILES, HALF, name_of, unreplicated

TABLES = tables_of(FILES)


def test_consistent_servers(shards: list[ClickHouse]) -> None:
    """If every server has every table, nothing is created."""
    found = survey(shards[0], CLUSTER, name_of(shards[0]), TABLES)

    assert found.servers == {"clickhouse-1-1", "clickhouse-2-1"}
    assert found.is_complete
    assert found.is_consistent(TABLES)
    assert create_missing_tables(shards[0], CLUSTER, name_of(shards[0]), TABLES) == []


def test_a_server_that_does_not_answer(shards: list[ClickHouse]) -> None:
    """A server that does not answer is left out and named, and the others are consistent."""
    found = survey(shards[0], HALF, name_of(shards[0]), TABLES)

    assert found.servers == {"clickhouse-1-1"}
    assert not found.is_complete
    ((second,),) = shards[0].rows(f"SELECT port FROM system.clusters WHERE cluster = '{HALF}' AND shard_num = 2")
    assert found.absent == [f"127.0.0.1:{second}"]
    assert found.is_consistent(TABLES)


def test_up_to_date_without_a_server(servers: list[str], shards: list[ClickHouse]) -> None:
    """When all migrations are applied, `ugc-migrate` succeeds although a server does not answer; otherwise it fails."""
    url = f"{servers[0]}/{name_of(shards[0])}"
    shards[0].rows(unreplicated(LEDGER.format(cluster="", engine="MergeTree")))
    record = "INSERT INTO schema_migrations SELECT '{0.name}', '{0.checksum}', now()"
    for each in FILES[:-1]:
        shards[0].rows(record.format(each))

    assert not is_up_to_date(url, HALF, FILES)
    with pytest.raises(AbsentServersError, match=r"^127\.0\.0\.1:\d+ of the cluster half does not answer"):
        migrate(url, HALF)

    shards[0].rows(record.format(FILES[-1]))

    assert is_up_to_date(url, HALF, FILES)
    assert migrate(url, HALF) == []
    assert not is_up_to_date(url, CLUSTER, FILES)

    shards[0].rows("DROP TABLE replayed_events_all SYNC")

    assert not is_up_to_date(url, HALF, FILES)
    with pytest.raises(AbsentServersError):
        migrate(url, HALF)


def test_a_server_that_accepts_connections_only(servers: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A command goes on to the next server of its URL when one accepts its connection and sends nothing."""
    monkeypatch.setattr("db.clickhouse.client.CONNECT_SECONDS_MAX", 0.5)
    monkeypatch.setattr("db.clickhouse.client.ANSWER_SECONDS_MAX", 600)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        other = host_of(servers[0])
        url = f"clickhouse://default@127.0.0.1:{silent.getsockname()[1]}/default?alt_hosts={other}"
        with connected(url) as connection:
            assert connection.rows("SELECT 1") == [(1,)]


@pytest.mark.parametrize("table", TABLES)
def test_a_table_that_a_server_lacks(shards: list[ClickHouse], table: str) -> None:
    """A server that lacks a table is found, and gets the definition of a server that has the table."""
    shards[1].rows(f"DROP TABLE {table} SYNC")
    found = survey(shards[0], CLUSTER, name_of(shards[0]), TABLES)
    (definition,) = found.definitions[table].values()

    assert found.lacking(table) == ["clickhouse-2-1"]
    assert not found.is_consistent(TABLES)

    shards[1].rows(unreplicated(on_cluster(definition, CLUSTER)))
    assert survey(shards[0], CLUSTER, name_of(shards[0]), TABLES).is_consistent(TABLES)
    for connection in shards:
        connection.rows(unreplicated(on_cluster(definition, CLUSTER)))


def test_an_empty_server(shards: list[ClickHouse]) -> None:
    """An empty server is found through any server, and creating its tables is attempted."""
    for table in TABLES:
        shards[1].rows(f"DROP TABLE {table} SYNC")

    for connection in shards:
        found = survey(connection, CLUSTER, name_of(shards[0]), TABLES)

        assert {table: found.lacking(table) for table in TABLES} == {table: ["clickhouse-2-1"] for table in TABLES}
    # ON CLUSTER fails here, because no Keeper runs.
    with pytest.raises(RefusedError, match=r"Keeper|DDL|ZooKeeper"):
        create_missing_tables(shards[1], CLUSTER, name_of(shards[0]), TABLES)


def test_tables_that_no_server_has(shards: list[ClickHouse]) -> None:
    """A table that no server has any more is an error, because creating it empty would hide the loss of its rows."""
    with pytest.raises(ConflictError, match=f"{LEDGER_NAME} was made by a migration"):
        create_missing_tables(shards[0], CLUSTER, name_of(shards[0]), [LEDGER_NAME])


def test_servers_that_differ(shards: list[ClickHouse]) -> None:
    """A column that only one server has is an error that names the server."""
    shards[1].rows("ALTER TABLE events ADD COLUMN extra UInt8")

    with pytest.raises(ServersDifferError, match=r"table events is not the same .*clickhouse-2-1: .*extra"):
        create_missing_tables(shards[0], CLUSTER, name_of(shards[0]), TABLES)


def test_unsettled_replicas(shards: list[ClickHouse]) -> None:
    """Tables that are not replicated, and a server that does not answer, make the counts of the audit uncertain."""
    assert unsettled(shards[0], CLUSTER, 0) == ["4 tables are missing on servers"]
    (reason,) = unsettled(shards[0], HALF, 0)
    assert re.fullmatch(r"127\.0\.0\.1:\d+ of the cluster does not answer", reason)
