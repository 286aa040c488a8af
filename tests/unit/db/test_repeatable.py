"""Which statements of migrations are safe to repeat; those of every file are."""

from __future__ import annotations

import pytest

from db.clickhouse.repeatable import refuse_unrepeatable
from db.clickhouse.schema import MIGRATIONS, Migration, migrations
from db.errors import ConflictError

FILES = [migration for folder in ("single", "cluster") for migration in migrations(MIGRATIONS / folder)]


@pytest.mark.parametrize("migration", FILES, ids=lambda migration: migration.name)
def test_every_file(migration: Migration) -> None:
    """Every statement of every file is safe to repeat."""
    for statement in migration.statements():
        refuse_unrepeatable(migration.name, statement)


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE a (x UInt8 COMMENT 'with -- and, ''quotes'', ALTER') ENGINE = MergeTree ORDER BY x",
        "-- why\nCREATE VIEW IF NOT EXISTS a AS SELECT 1",
        "CREATE OR REPLACE VIEW a ON CLUSTER '{cluster_name}' AS SELECT 1",
        "DROP VIEW IF EXISTS a",
        "ALTER TABLE a ADD COLUMN IF NOT EXISTS y Tuple(UInt8, UInt8) COMMENT 'a, b',\n  DROP INDEX IF EXISTS i",
        "ALTER TABLE a ON CLUSTER '{cluster_name}'\n  ADD COLUMN IF NOT EXISTS y UInt8",
        "ALTER TABLE a MODIFY COLUMN y UInt16, COMMENT COLUMN y 'text', MODIFY SETTING x = 1",
        "ALTER TABLE a CLEAR COLUMN IF EXISTS x /* ADD COLUMN z */",
    ],
)
def test_accepted(statement: str) -> None:
    """A statement that does nothing the second time is accepted, whatever its comments and strings contain."""
    refuse_unrepeatable("0009_a.sql", statement)


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("ALTER TABLE a ADD COLUMN y UInt8", "ADD COLUMN y UInt8"),
        ("ALTER TABLE a ADD COLUMN IF NOT EXISTS y UInt8, ADD COLUMN z UInt8", "ADD COLUMN z UInt8"),
        ("ALTER TABLE a ON CLUSTER '{cluster_name}' DROP COLUMN y", "DROP COLUMN y"),
        ("ALTER TABLE a ADD INDEX i x TYPE minmax -- IF NOT EXISTS", "ADD INDEX i"),
        ("ALTER TABLE a UPDATE x = x + 1 WHERE 1", "UPDATE x"),
        # An earlier ADD COLUMN of the old name would add it again when it is repeated.
        ("ALTER TABLE a RENAME COLUMN IF EXISTS x TO y", "RENAME COLUMN"),
        ("ALTER TABLE a DELETE WHERE 1", "DELETE"),
        ("INSERT INTO a SELECT 1", "INSERT INTO a"),
        ("DROP TABLE a", "DROP TABLE a"),
        ("RENAME TABLE a TO b", "RENAME TABLE"),
        ("EXCHANGE TABLES a AND b", "EXCHANGE"),
    ],
)
def test_refused(statement: str, named: str) -> None:
    """A statement that fails or changes more the second time is an error with its file and the action."""
    with pytest.raises(ConflictError, match=r"0009_a\.sql cannot be repeated") as refused:
        refuse_unrepeatable("0009_a.sql", statement)
    assert named in str(refused.value)
