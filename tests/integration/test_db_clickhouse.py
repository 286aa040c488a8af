"""Migrations and the local ClickHouse server, on real servers."""

from __future__ import annotations

import socket
import threading
import urllib.request
import uuid
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from common.settings import Address
from db.clickhouse.client import ClickHouse, connected
from db.clickhouse.schema import MIGRATIONS, migrate, migrations
from db.errors import ConflictError
from local.clickhouse.server import clickhouse_program
from local.processes.ports import free_port, port_answers
from local.processes.program import Child, running

NAMES = [migration.name for migration in migrations(MIGRATIONS / "single")]


def test_migrations_apply_once(clickhouse: str) -> None:
    """The first run applies every file in order, the second run none."""
    url = f"{clickhouse}/once_{uuid.uuid4().hex}"

    assert migrate(url) == NAMES
    assert migrate(url) == []


def test_a_changed_migration_is_refused(clickhouse: str, tmp_path: Path) -> None:
    """A file that has changed since it was applied ends the run, and the error names the file."""
    url = f"{clickhouse}/changed_{uuid.uuid4().hex}"
    file = tmp_path / "0001_a.sql"
    file.write_text("CREATE TABLE a (x UInt8) ENGINE = MergeTree ORDER BY x;\n")
    migrate(url, folder=tmp_path)
    file.write_text("CREATE TABLE a (x UInt16) ENGINE = MergeTree ORDER BY x;\n")

    with pytest.raises(ConflictError, match=r"0001_a\.sql has changed"):
        migrate(url, folder=tmp_path)


def test_a_missing_table(database: str, tables: ClickHouse) -> None:
    """A table that applied migrations created and that no longer exists is an error that names it."""
    tables.rows("DROP TABLE replayed_events SYNC")

    with pytest.raises(ConflictError, match="missing although applied migrations created them: replayed_events;"):
        migrate(database)


def test_concurrent_migrations(clickhouse: str) -> None:
    """Two concurrent runs both succeed."""
    url = f"{clickhouse}/concurrent_{uuid.uuid4().hex}"
    errors: list[Exception] = []

    def run() -> None:
        try:
            migrate(url)
        except Exception as error:  # noqa: BLE001 -- the assertion below shows it
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    assert migrate(url) == []


def test_tables_are_documented(tables: ClickHouse) -> None:
    """Every column has a comment, and none has a default, by which a repeated insert could differ."""
    columns = tables.rows(
        "SELECT table, name, comment, default_kind FROM system.columns"
        " WHERE database = currentDatabase() AND table IN ('events', 'rejected_events', 'replayed_events')"
    )

    assert len(columns) == 30
    assert [each for each in columns if not each[2] or each[3]] == []


def test_clickhouse_keeps_its_data(tmp_path: Path) -> None:
    """Acknowledged rows survive kill -9 and a clean stop; after a clean stop no port is open."""
    port, http_port = free_port(), free_port()
    program = clickhouse_program(tmp_path, port, http_port)
    url = f"clickhouse://default@127.0.0.1:{port}/kept"
    with running(program) as child:
        migrate(url)
        child.kill()
    child = Child(program)
    child.await_ready()
    child.stop()

    assert child.process.returncode == 0
    assert not port_answers(Address("127.0.0.1", port))
    with running(program), connected(url) as database:
        assert [name for (name,) in database.rows("SELECT name FROM schema_migrations ORDER BY name")] == NAMES


def test_garbage_does_not_kill_clickhouse(clickhouse: str) -> None:
    """Bytes of another protocol, unknown users and unknown databases do not end the server."""
    address = urlsplit(clickhouse)
    for garbage in (b"\x00" * 1000, b"GET / HTTP/1.1\r\n\r\n", b"\xff\xfe\xfd"):
        with socket.create_connection((address.hostname or "", address.port or 0), timeout=5) as connection:
            connection.sendall(garbage)
    for url in (clickhouse.replace("default@", "nobody:x@"), f"{clickhouse}/nowhere"):
        with connected(url) as stranger, pytest.raises(Exception, match="ClickHouse"):
            stranger.rows("SELECT 1")

    with connected(clickhouse) as database:
        assert database.rows("SELECT 1") == [(1,)]


def test_play_page(tmp_path: Path) -> None:
    """The HTTP port serves ClickHouse's own page."""
    http_port = free_port()
    with (
        running(clickhouse_program(tmp_path, free_port(), http_port)),
        urllib.request.urlopen(f"http://127.0.0.1:{http_port}/play", timeout=5) as page,
    ):
        assert b"<html" in page.read()
