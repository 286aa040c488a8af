"""Applies the numbered SQL files of db/clickhouse/migrations, each once, recorded with its checksum."""

from __future__ import annotations

import hashlib
import re
import time
from pathlib import Path
from typing import NamedTuple

from db.clickhouse.client import ClickHouse, RefusedError, connected, database_of, with_database
from db.clickhouse.repeatable import refuse_unrepeatable
from db.errors import ConflictError

MIGRATIONS = Path(__file__).parent / "migrations"
TABLE_EXISTS = 57
STATEMENT_ATTEMPTS = 5
STATEMENT_PAUSE_SECONDS = 0.3
LEDGER = """
CREATE TABLE IF NOT EXISTS schema_migrations {cluster} (
    name String COMMENT 'File name', checksum FixedString(64) COMMENT 'SHA-256 of the file, in hexadecimal',
    applied_at DateTime COMMENT 'When it was applied'
) ENGINE = {engine} ORDER BY name COMMENT 'Migrations that were applied'
"""
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


def migrate(url: str, cluster: str = "", folder: Path | None = None) -> list[str]:
    """Bring a database up to date, making it when it is not there; return the names of the files applied now.

    ConflictError when a file that was applied has changed since, or cannot be repeated. Two runs at once are safe, and
    so is the run after one that was cut short anywhere: every statement does nothing when it has been run before.
    """
    folder = folder or MIGRATIONS / ("cluster" if cluster else "single")
    on_cluster = f"ON CLUSTER '{cluster}'" if cluster else ""
    with connected(with_database(url, "default")) as server:
        server.rows(f"CREATE DATABASE IF NOT EXISTS `{database_of(url)}` {on_cluster}")
    with connected(url) as database:
        engine = "ReplicatedMergeTree('/clickhouse/ledger/{database}', '{replica}')" if cluster else "MergeTree"
        database.rows(LEDGER.format(cluster=on_cluster, engine=engine))
        applied = dict(database.rows("SELECT name, toString(checksum) FROM schema_migrations"))
        fresh = []
        for migration in migrations(folder):
            if migration.name not in applied:
                apply(database, migration, cluster)
                fresh.append(migration.name)
            elif applied[migration.name] != migration.checksum:
                raise ConflictError(
                    f"migration {migration.name} has changed since it was applied: put it back, and write a new file"
                )
        return fresh


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
