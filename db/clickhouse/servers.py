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
# How long a statement waits for all servers. A server that has not run it by then runs it when it is back.
DDL_SECONDS_MAX = 20
# Each server that has not answered in time is a row without a status, instead of an error with their number.
DDL_SETTINGS = {
    "distributed_ddl_task_timeout": DDL_SECONDS_MAX,
    "distributed_ddl_output_mode": "null_status_on_timeout",
}
# Each server evaluates its own macro; several servers may have one host name. The number is the place in CONFIGURED.
SERVERS = "SELECT shardNum(), getMacro('replica') FROM clusterAllReplicas('{cluster}', system.one) SETTINGS {settings}"
CONFIGURED = """
SELECT concat(host_name, ':', toString(port)) FROM system.clusters WHERE cluster = %(cluster)s
ORDER BY shard_num, replica_num
"""
DEFINITIONS = """
SELECT name, getMacro('replica'), create_table_query FROM clusterAllReplicas('{cluster}', system.tables)
WHERE database = %(database)s AND name IN %(tables)s
SETTINGS {settings}
"""
CREATE = re.compile(r"^CREATE (TABLE|VIEW|MATERIALIZED VIEW) (\S+)")


class ServersDifferError(UnavailableError):
    """A table is not the same on all servers; temporary while an ALTER is running."""


class AbsentServersError(UnavailableError):
    """Servers have not taken part in what needs all of them; the text names them."""


@dataclass(frozen=True)
class Survey:
    """The tables on the servers of a cluster: `definitions` has the CREATE statements by table and by server.

    `absent` has the hosts of the servers that did not answer.
    """

    servers: frozenset[str]
    definitions: Mapping[str, Mapping[str, str]]
    absent: Sequence[str] = ()

    @property
    def is_complete(self) -> bool:
        """Whether every server answered."""
        return not self.absent

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
    found = server.rows(SERVERS.format(cluster=cluster, settings=settings))
    absent = without(server, cluster, {number for number, _ in found})
    definitions: dict[str, dict[str, str]] = {}
    query = DEFINITIONS.format(cluster=cluster, settings=settings)
    for table, name, statement in server.rows(query, {"database": database, "tables": tuple(tables)}):
        definitions.setdefault(table, {})[name] = statement
    return Survey(frozenset(name for _, name in found), definitions, absent)


def absent_servers(server: ClickHouse, cluster: str) -> list[str]:
    """Return the hosts of a cluster that do not answer."""
    found = server.rows(SERVERS.format(cluster=cluster, settings="skip_unavailable_shards = 1"))
    return without(server, cluster, {number for number, _ in found})


def without(server: ClickHouse, cluster: str, numbers: Collection[int]) -> list[str]:
    """Return the hosts of a cluster but those with these numbers."""
    configured = server.rows(CONFIGURED, {"cluster": cluster})
    return [host for number, (host,) in enumerate(configured, 1) if number not in numbers]


def require_servers(server: ClickHouse, cluster: str) -> None:
    """Raise AbsentServersError unless every server of a cluster answers."""
    if absent := absent_servers(server, cluster):
        raise AbsentServersError(
            f"{', '.join(absent)} of the cluster {cluster} does not answer, and tables must be created or changed on "
            "every server: nothing was changed; start it, then run ugc-migrate again"
        )


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
            create_on_cluster(server, on_cluster(next(iter(definitions.values())), cluster))
            created += [f"{table} on {each}" for each in lacking]
    return created


def run_on_servers(server: ClickHouse, statement: str) -> None:
    """Run a statement with ON CLUSTER, or without it; AbsentServersError names the servers that have not run it."""
    rows = server.rows(statement, settings=DDL_SETTINGS)
    if absent := [f"{host}:{port}" for host, port, status, *_ in rows if status is None]:
        raise AbsentServersError(
            f"{', '.join(absent)} has not run a statement for every server within {DDL_SECONDS_MAX} s, the others "
            f"have: start it, or restart it, then run ugc-migrate again, which continues ({first_line(statement)})"
        )


def first_line(statement: str) -> str:
    """Return the first line of a statement, without the comments before it."""
    lines = (line.strip() for line in statement.splitlines())
    return next(line for line in lines if line and not line.startswith("--"))


def create_on_cluster(server: ClickHouse, statement: str) -> None:
    """Run a CREATE on all servers; raise ConflictError when one of them was a replica before and lost its disk."""
    try:
        run_on_servers(server, statement)
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
