"""Holds every server of a cluster to the tables that the migrations made: a new or rebuilt one gets what it lacks.

The ledger of migrations is replicated, so it proves nothing about a server that lost its disk.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from db.clickhouse.client import ClickHouse, RefusedError
from db.errors import ConflictError, UnavailableError

# No connection to a server, or no table on it.
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
    """A table is not the same on all servers; while an ALTER is under way that passes."""


@dataclass(frozen=True)
class Survey:
    """What the servers of a cluster have: `definitions` are CREATE statements by table and by server."""

    servers: frozenset[str]
    definitions: Mapping[str, Mapping[str, str]]
    is_complete: bool

    def lacking(self, table: str) -> list[str]:
        """Return the servers that answered and lack a table."""
        return sorted(self.servers - self.definitions.get(table, {}).keys())

    def is_level(self, tables: Collection[str]) -> bool:
        """Whether every server that answered has each of the tables, in one form."""
        return all(not self.lacking(each) and len(set(self.definitions[each].values())) == 1 for each in tables)


def survey(server: ClickHouse, cluster: str, database: str, tables: Sequence[str]) -> Survey:
    """Ask all servers which of the tables they have; those that do not answer are left out."""
    try:
        return ask(server, cluster, database, tables, skips_absent=False)
    except RefusedError as error:
        if error.code != ALL_CONNECTION_TRIES_FAILED:
            raise
    return ask(server, cluster, database, tables, skips_absent=True)


def ask(server: ClickHouse, cluster: str, database: str, tables: Sequence[str], *, skips_absent: bool) -> Survey:
    """Ask once."""
    settings = f"skip_unavailable_shards = {int(skips_absent)}"
    servers = frozenset(name for (name,) in server.rows(SERVERS.format(cluster=cluster, settings=settings)))
    definitions: dict[str, dict[str, str]] = {}
    query = DEFINITIONS.format(cluster=cluster, settings=settings)
    for table, holder, statement in server.rows(query, {"database": database, "tables": tuple(tables)}):
        definitions.setdefault(table, {})[holder] = statement
    return Survey(servers, definitions, is_complete=not skips_absent)


def level(server: ClickHouse, cluster: str, database: str, tables: Sequence[str]) -> list[str]:
    """Make the tables, given in the order in which they depend on one another, where a server lacks them.

    Return what was made, as "TABLE on SERVER". ConflictError when no server has one of them, or when Keeper still lists
    the replica that the server was before; ServersDifferError when servers have it in different forms.
    """
    found = survey(server, cluster, database, tables)
    made = []
    for table in tables:
        forms = found.definitions.get(table, {})
        if not forms:
            raise ConflictError(f"table {table} was made by a migration, and no server of the cluster has it")
        if len(set(forms.values())) > 1:
            raise ServersDifferError(f"table {table} is not the same on all servers: {differences(forms)}")
        if lacking := found.lacking(table):
            run_on_cluster(server, on_cluster(next(iter(forms.values())), cluster))
            made += [f"{table} on {each}" for each in lacking]
    return made


def run_on_cluster(server: ClickHouse, statement: str) -> None:
    """Run a CREATE on all servers; ConflictError when one of them was a replica before and lost its disk."""
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
    """Return a server's CREATE statement for all servers, those that have the table left as they are."""
    statement, count = CREATE.subn(rf"CREATE \1 IF NOT EXISTS \2 ON CLUSTER '{cluster}'", definition, count=1)
    assert count == 1, definition  # noqa: S101 -- migrations make nothing else
    return statement


def differences(forms: Mapping[str, str]) -> str:
    """Group the servers by what they have."""
    holders: dict[str, list[str]] = {}
    for holder, form in sorted(forms.items()):
        holders.setdefault(form, []).append(holder)
    return "; ".join(f"{', '.join(names)}: {form}" for form, names in holders.items())
