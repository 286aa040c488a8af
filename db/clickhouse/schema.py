"""Applies the numbered SQL files of db/clickhouse/migrations, each once, recorded with its checksum."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from common.logs import logger
from db.clickhouse.client import ClickHouse, RefusedError, connected, database_of, with_database
from db.clickhouse.repeatable import refuse_unrepeatable
from db.clickhouse.servers import level, run_on_cluster, survey
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
# Each replica is asked: the ledger of a server that was made a moment ago is still empty.
RECORDED_ANYWHERE = """
SELECT DISTINCT name, toString(checksum) FROM clusterAllReplicas('{cluster}', {database}.schema_migrations)
SETTINGS skip_unavailable_shards = 1
"""
TABLES = "SELECT name FROM system.tables WHERE database = currentDatabase()"
MADE = re.compile(r"^(?:--.*\n)*CREATE (?:OR REPLACE )?(?:TABLE|VIEW|MATERIALIZED VIEW) (?:IF NOT EXISTS )?(\w+)")
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
        """Cut the file at the semicolons that end lines."""
        return [text for text in (part.strip() for part in STATEMENT_END.split(self.sql)) if text]


def migrations(folder: Path) -> list[Migration]:
    """Read the files of a folder in the order of their numbers."""
    return [Migration(path.name, path.read_text(encoding="utf-8")) for path in sorted(folder.glob("[0-9]*.sql"))]


def tables_of(files: Iterable[Migration]) -> list[str]:
    """Return the tables and views that migrations make and keep, in the order in which they depend on one another."""
    kept: dict[str, None] = {}
    for statement in (statement for each in files for statement in each.statements()):
        if made := MADE.match(statement):
            kept.setdefault(made[1])
        elif dropped := DROPPED.match(statement):
            kept.pop(dropped[1], None)
    return list(kept)


def dropped_by(files: Iterable[Migration]) -> set[str]:
    """Return the tables and views that migrations drop: a run that was cut short may have done so already."""
    found = (DROPPED.match(statement) for each in files for statement in each.statements())
    return {match[1] for match in found if match}


def migrate(url: str, cluster: str = "", folder: Path | None = None) -> list[str]:
    """Bring a database up to date, making it when it is not there; return the names of the files applied now.

    On a cluster every server gets every table. ConflictError when a file that was applied has changed since, or what
    it made is gone, or a new one cannot be repeated. Two runs at once are safe, and so is the run after one that was
    cut short anywhere: every statement does nothing when it has been run before.
    """
    files = migrations(folder or MIGRATIONS / ("cluster" if cluster else "single"))
    if cluster and is_up_to_date(url, cluster, files):
        return []
    on_cluster = f"ON CLUSTER '{cluster}'" if cluster else ""
    with connected(with_database(url, "default")) as server:
        server.rows(f"CREATE DATABASE IF NOT EXISTS `{database_of(url)}` {on_cluster}")
    with connected(url) as database:
        engine = "ReplicatedMergeTree('/clickhouse/ledger/{database}', '{replica}')" if cluster else "MergeTree"
        run_on_cluster(database, LEDGER.format(cluster=on_cluster, engine=engine))
        recorded = dict(database.rows(ledger_query(url, cluster)))
        refuse_changed(files, recorded)
        fresh = [each for each in files if each.name not in recorded]
        leaving = dropped_by(fresh)
        made = [each for each in tables_of(each for each in files if each.name in recorded) if each not in leaving]
        if cluster:
            if created := level(database, cluster, database_of(url), made):
                logger().warning("servers lacked tables, which were made", created=created)
        else:
            refuse_missing(made, {name for (name,) in database.rows(TABLES)})
        for migration in fresh:
            apply(database, migration, cluster)
        return [each.name for each in fresh]


def is_up_to_date(url: str, cluster: str, files: Sequence[Migration]) -> bool:
    """Whether nothing is to be done on any server that answers; then nothing is asked of one that does not."""
    tables = [LEDGER_NAME, *tables_of(files)]
    with connected(with_database(url, "default")) as server:
        found = survey(server, cluster, database_of(url), tables)
        if not found.is_level(tables):
            return False
        recorded = dict(server.rows(ledger_query(url, cluster)))
    refuse_changed(files, recorded)
    if not {each.name for each in files} <= recorded.keys():
        return False
    if not found.is_complete:
        logger().warning(
            "a server of the cluster does not answer; the others have every table", have=sorted(found.servers)
        )
    return True


def ledger_query(url: str, cluster: str) -> str:
    """Return the question which migrations were applied, each with its checksum."""
    return RECORDED_ANYWHERE.format(cluster=cluster, database=database_of(url)) if cluster else RECORDED


def refuse_changed(files: Iterable[Migration], recorded: Mapping[str, str]) -> None:
    """Raise ConflictError when a file is not what was applied."""
    for migration in files:
        if recorded.get(migration.name, migration.checksum) != migration.checksum:
            raise ConflictError(
                f"migration {migration.name} has changed since it was applied: put it back, and write a new file"
            )


def refuse_missing(made: Iterable[str], present: Collection[str]) -> None:
    """Raise ConflictError when a table that an applied migration made is not there."""
    if missing := [each for each in made if each not in present]:
        raise ConflictError(
            f"{', '.join(missing)} made by applied migrations, but not there: restore them from a backup, or drop the "
            "database to begin anew"
        )


def apply(database: ClickHouse, migration: Migration, cluster: str) -> None:
    """Run a file's statements, then record it; a run that was cut short is repeated from the first statement."""
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
    """Run a statement, again when it is refused: another run may be changing the same table.

    False when that other run has recorded the file meanwhile; what it did next must not be undone.
    """
    for attempt in range(1, STATEMENT_ATTEMPTS + 1):
        if database.rows("SELECT 1 FROM schema_migrations WHERE name = %(name)s", {"name": migration.name}):
            return False
        try:
            database.rows(statement)
        except RefusedError as error:
            if error.code == TABLE_EXISTS:
                return True
            if attempt == STATEMENT_ATTEMPTS:
                raise
            time.sleep(STATEMENT_PAUSE_SECONDS)
        else:
            return True
    return False
