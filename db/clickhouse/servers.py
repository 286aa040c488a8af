"""Creates the tables of the migrations on every server of a cluster, also on one that was added or rebuilt.

The ledger of migrations is replicated, so it proves nothing about a server that lost its disk.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from db.clickhouse.client import ClickHouse, RefusedError
from db.errors import ConflictError, UnavailableError

# ClickHouse could not connect to a server, or the table does not exist there.
ALL_CONNECTION_TRIES_FAILED = 279
REPLICA_ALREADY_EXISTS = 253
# Each server evaluates its own macro; several servers may have one host name.
SERVERS = "SELECT getMacro('replica') FROM clusterAllReplicas('{cluster}', system.one) SETTINGS {settings}"
DEFINITIONS = """
SELECT name, getMacro('replica'), create_table_query FROM clusterAllReplicas('{cluster}', system.tables)
WHERE database = %(database)s AND name IN %(tables)s
SETTINGS {settings}
"""
CREATE = re.compile(r"^CREATE (TABLE|VIEW|MATERIALIZED VIEW) (\S+)")


class ServersDifferError(UnavailableError):
    """A table is not the same on all servers; temporary while an ALTER is running."""


@dataclass(frozen=True)
class Survey:
    """The tables on the servers of a cluster: `definitions` has the CREATE statements by table and by server."""

    servers: frozenset[str]
    definitions: Mapping[str, Mapping[str, str]]
    is_complete: bool

    def lacking(self, table: str) -> list[str]:
        """Return the servers that answered and do not have a table."""
        return sorted(self.servers - self.definitions.get(table, {}).keys())

    def is_consistent(self, tables: Collection[str]) -> bool:
        """Return whether every server that answered has each of the tables, with the same definition."""
        return all(not self.lacking(each) and len(set(self.definitions[each].values())) == 1 for each in tables)


def survey(server: ClickHouse, cluster: str, database: str, tables: Sequence[str]) -> Survey:
    """Return which of the tables the servers have; a server that does not answer is left out."""
    try:
        return query_servers(server, cluster, database, tables, skips_unavailable=False)
    except RefusedError as error:
        if error.code != ALL_CONNECTION_TRIES_FAILED:
            raise
    return query_servers(server, cluster, database, tables, skips_unavailable=True)


def query_servers(
    server: ClickHouse, cluster: str, database: str, tables: Sequence[str], *, skips_unavailable: bool
) -> Survey:
    """Query all servers once; RefusedError when one does not answer, unless it is skipped."""
    settings = f"skip_unavailable_shards = {int(skips_unavailable)}"
    servers = frozenset(name for (name,) in server.rows(SERVERS.format(cluster=cluster, settings=settings)))
    definitions: dict[str, dict[str, str]] = {}
    query = DEFINITIONS.format(cluster=cluster, settings=settings)
    for table, name, statement in server.rows(query, {"database": database, "tables": tuple(tables)}):
        definitions.setdefault(table, {})[name] = statement
    return Survey(servers, definitions, is_complete=not skips_unavailable)


def create_missing_tables(server: ClickHouse, cluster: str, database: str, tables: Sequence[str]) -> list[str]:
    """Create the tables on the servers that do not have them; `tables` is in the order of their dependencies.

    Returns what was created, as "TABLE on SERVER". Raises ConflictError when no server has one of them, or when Keeper
    still lists the replica that a server was before; ServersDifferError when servers have different definitions.
    """
    found = survey(server, cluster, database, tables)
    created = []
    for table in tables:
        definitions = found.definitions.get(table, {})
        if not definitions:
            raise ConflictError(f"table {table} was made by a migration, and no server of the cluster has it")
        if len(set(definitions.values())) > 1:
            raise ServersDifferError(f"table {table} is not the same on all servers: {differences(definitions)}")
        if lacking := found.lacking(table):
            run_on_cluster(server, on_cluster(next(iter(definitions.values())), cluster))
            created += [f"{table} on {each}" for each in lacking]
    return created


def run_on_cluster(server: ClickHouse, statement: str) -> None:
    """Run a CREATE on all servers; raise ConflictError when one of them was a replica before and lost its disk."""
    try:
        server.rows(statement)
    except RefusedError as error:
        if error.code != REPLICA_ALREADY_EXISTS:
            raise
        raise ConflictError(
            "a server of the cluster has lost its tables, and Keeper still lists it as their replica: remove it there "
            f"with SYSTEM DROP REPLICA (docs/operating/cluster.md), then run ugc-migrate again. {error}"
        ) from error


def on_cluster(definition: str, cluster: str) -> str:
    """Return a CREATE statement of one server as a statement for all servers that leaves existing tables unchanged."""
    statement, count = CREATE.subn(rf"CREATE \1 IF NOT EXISTS \2 ON CLUSTER '{cluster}'", definition, count=1)
    assert count == 1, definition  # noqa: S101 -- migrations create nothing else
    return statement


def differences(definitions: Mapping[str, str]) -> str:
    """Describe which servers have which definition."""
    servers: dict[str, list[str]] = {}
    for server, definition in sorted(definitions.items()):
        servers.setdefault(definition, []).append(server)
    return "; ".join(f"{', '.join(names)}: {definition}" for definition, names in servers.items())
