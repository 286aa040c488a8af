"""Applies the numbered SQL files of db/clickhouse/migrations, each once, and records their checksums."""

from __future__ import annotations

import hashlib
import logging
import re
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from common.logs import log_limited
from db.clickhouse.client import ClickHouse, RefusedError, connected, database_of, with_database
from db.clickhouse.placement import declare_placement
from db.clickhouse.repeatable import refuse_unrepeatable
from db.clickhouse.servers import create_missing_tables, create_on_cluster, require_servers, run_on_servers, survey
from db.errors import ConflictError

MIGRATIONS = Path(__file__).parent / "migrations"
TABLE_EXISTS = 57
STATEMENT_ATTEMPTS = 5
STATEMENT_PAUSE_SECONDS = 0.3
LEDGER_NAME = "schema_migrations"
LEDGER = """
CREATE TABLE IF NOT EXISTS schema_migrations {cluster} (
    name String COMMENT 'File name', checksum FixedString(64) COMMENT 'SHA-256 of the file, in hexadecimal',
    applied_at DateTime COMMENT 'When it was applied'
) ENGINE = {engine} ORDER BY name COMMENT 'Migrations that were applied'
"""
RECORDED = "SELECT name, toString(checksum) FROM schema_migrations"
# All replicas are queried, because the ledger of a server that was added a moment ago is still empty.
RECORDED_ANYWHERE = """
SELECT DISTINCT name, toString(checksum) FROM clusterAllReplicas('{cluster}', {database}.schema_migrations)
SETTINGS skip_unavailable_shards = 1
"""
TABLES = "SELECT name FROM system.tables WHERE database = currentDatabase()"
CREATED = re.compile(r"^(?:--.*\n)*CREATE (?:OR REPLACE )?(?:TABLE|VIEW|MATERIALIZED VIEW) (?:IF NOT EXISTS )?(\w+)")
DROPPED = re.compile(r"^(?:--.*\n)*DROP (?:TABLE|VIEW) (?:IF EXISTS )?(\w+)")
STATEMENT_END = re.compile(r";[ \t]*$", re.MULTILINE)


class Migration(NamedTuple):
    """A numbered file of statements."""

    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the file."""
        return hashlib.sha256(self.sql.encode()).hexdigest()

    def statements(self) -> list[str]:
        """Return the statements of the file; a statement ends with a semicolon at the end of a line."""
        return [text for text in (part.strip() for part in STATEMENT_END.split(self.sql)) if text]


def migrations(folder: Path) -> list[Migration]:
    """Return the migrations of a folder, ordered by number."""
    return [Migration(path.name, path.read_text(encoding="utf-8")) for path in sorted(folder.glob("[0-9]*.sql"))]


def tables_of(files: Iterable[Migration]) -> list[str]:
    """Return the tables and views that exist after the migrations, in the order of their dependencies."""
    kept: dict[str, None] = {}
    for statement in (statement for each in files for statement in each.statements()):
        if created := CREATED.match(statement):
            kept.setdefault(created[1])
        elif dropped := DROPPED.match(statement):
            kept.pop(dropped[1], None)
    return list(kept)


def dropped_by(files: Iterable[Migration]) -> set[str]:
    """Return the tables and views that migrations drop; an interrupted run may already have dropped them."""
    found = (DROPPED.match(statement) for each in files for statement in each.statements())
    return {match[1] for match in found if match}


def migrate(url: str, cluster: str = "", folder: Path | None = None) -> list[str]:
    """Create the database if necessary and apply the migrations that are missing; return the names of those files.

    On a cluster every server gets every table. Raises ConflictError when a file has changed since it was applied, when
    a table that it created is missing, or when a new file is not safe to repeat. Concurrent runs are safe, and so is a
    run after an interrupted one, because every statement does nothing the second time.
    """
    applied = apply_missing(url, cluster, folder)
    if cluster:
        with connected(url) as database:
            declare_placement(database, cluster)
    return applied


def apply_missing(url: str, cluster: str, folder: Path | None) -> list[str]:
    """Apply the migrations that are missing; return the names of their files."""
    files = migrations(folder or MIGRATIONS / ("cluster" if cluster else "single"))
    if cluster and is_up_to_date(url, cluster, files):
        return []
    on_cluster = f"ON CLUSTER '{cluster}'" if cluster else ""
    with connected(with_database(url, "default")) as server:
        if cluster:
            require_servers(server, cluster)
        run_on_servers(server, f"CREATE DATABASE IF NOT EXISTS `{database_of(url)}` {on_cluster}")
    with connected(url) as database:
        engine = "ReplicatedMergeTree('/clickhouse/ledger/{database}', '{replica}')" if cluster else "MergeTree"
        create_on_cluster(database, LEDGER.format(cluster=on_cluster, engine=engine))
        recorded = dict(database.rows(ledger_query(url, cluster)))
        refuse_changed(files, recorded)
        new = [each for each in files if each.name not in recorded]
        dropped = dropped_by(new)
        expected = [each for each in tables_of(each for each in files if each.name in recorded) if each not in dropped]
        if cluster:
            if created := create_missing_tables(database, cluster, database_of(url), expected):
                log_limited(logging.WARNING, "tables were missing on servers and have been created", created=created)
        else:
            refuse_missing(expected, {name for (name,) in database.rows(TABLES)})
        for migration in new:
            apply(database, migration, cluster)
        return [each.name for each in new]


def is_up_to_date(url: str, cluster: str, files: Sequence[Migration]) -> bool:
    """Return whether every server that answers is up to date; a server that does not answer is then not an error."""
    tables = [LEDGER_NAME, *tables_of(files)]
    with connected(with_database(url, "default")) as server:
        found = survey(server, cluster, database_of(url), tables)
        if not found.is_consistent(tables):
            return False
        recorded = dict(server.rows(ledger_query(url, cluster)))
    refuse_changed(files, recorded)
    if not {each.name for each in files} <= recorded.keys():
        return False
    if not found.is_complete:
        log_limited(
            logging.WARNING,
            "a server of the cluster does not answer; the others have every table",
            absent=list(found.absent),
            have=sorted(found.servers),
        )
    return True


def ledger_query(url: str, cluster: str) -> str:
    """Return the query for the applied migrations and their checksums."""
    return RECORDED_ANYWHERE.format(cluster=cluster, database=database_of(url)) if cluster else RECORDED


def refuse_changed(files: Iterable[Migration], recorded: Mapping[str, str]) -> None:
    """Raise ConflictError when a file has changed since it was applied."""
    for migration in files:
        if recorded.get(migration.name, migration.checksum) != migration.checksum:
            raise ConflictError(
                f"migration {migration.name} has changed since it was applied: restore it, and write a new file"
            )


def refuse_missing(expected: Iterable[str], present: Collection[str]) -> None:
    """Raise ConflictError when a table that an applied migration created does not exist."""
    if missing := [each for each in expected if each not in present]:
        raise ConflictError(
            f"missing although applied migrations created them: {', '.join(missing)}; restore them from a backup, or "
            "drop the database to start with an empty one"
        )


def apply(database: ClickHouse, migration: Migration, cluster: str) -> None:
    """Run the statements of a file, then record it; an interrupted run is repeated from the first statement."""
    statements = migration.statements()
    for statement in statements:
        refuse_unrepeatable(migration.name, statement)
    for statement in statements:
        if not run(database, migration, statement.replace("{cluster_name}", cluster)):
            return
    database.insert(
        "INSERT INTO schema_migrations SELECT name, checksum, now() FROM input('name String, checksum String')"
        " FORMAT Native",
        [(migration.name, migration.checksum)],
    )


def run(database: ClickHouse, migration: Migration, statement: str) -> bool:
    """Run a statement; retry it when ClickHouse refuses it, because another run may be changing the same table.

    Returns False when another run has recorded the file in the meantime: its later changes must not be undone.
    """
    for attempt in range(1, STATEMENT_ATTEMPTS + 1):
        if database.rows("SELECT 1 FROM schema_migrations WHERE name = %(name)s", {"name": migration.name}):
            return False
        try:
            run_on_servers(database, statement)
        except RefusedError as error:
            if error.code == TABLE_EXISTS:
                return True
            if attempt == STATEMENT_ATTEMPTS:
                raise
            time.sleep(STATEMENT_PAUSE_SECONDS)
        else:
            return True
    return False
