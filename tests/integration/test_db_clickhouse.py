"""Migrations and the local ClickHouse server, for real."""

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
from local.processes.program import Child, free_port, port_answers, running

NAMES = [migration.name for migration in migrations(MIGRATIONS / "single")]


def test_migrations_apply_once(clickhouse: str) -> None:
    """The first run applies every file in order, the second none."""
    url = f"{clickhouse}/once_{uuid.uuid4().hex}"

    assert migrate(url) == NAMES
    assert migrate(url) == []


def test_a_changed_migration_is_refused(clickhouse: str, tmp_path: Path) -> None:
    """A file that was applied and then changed stops the run, by name."""
    url = f"{clickhouse}/changed_{uuid.uuid4().hex}"
    file = tmp_path / "0001_a.sql"
    file.write_text("CREATE TABLE a (x UInt8) ENGINE = MergeTree ORDER BY x;\n")
    migrate(url, folder=tmp_path)
    file.write_text("CREATE TABLE a (x UInt16) ENGINE = MergeTree ORDER BY x;\n")

    with pytest.raises(ConflictError, match=r"0001_a\.sql has changed"):
        migrate(url, folder=tmp_path)


def test_what_was_made_and_is_gone(database: str, tables: ClickHouse) -> None:
    """A table that the ledger knows and the server has not is named, instead of being called up to date."""
    tables.rows("DROP TABLE replayed_events SYNC")

    with pytest.raises(ConflictError, match="replayed_events made by applied migrations, but not there"):
        migrate(database)


def test_migrations_at_once(clickhouse: str) -> None:
    """Two runs at the same time both end well."""
    url = f"{clickhouse}/both_{uuid.uuid4().hex}"
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
    """Every column carries a comment, and none a default that a repeated insert could differ by."""
    columns = tables.rows(
        "SELECT table, name, comment, default_kind FROM system.columns"
        " WHERE database = currentDatabase() AND table IN ('events', 'rejected_events', 'replayed_events')"
    )

    assert len(columns) == 30
    assert [each for each in columns if not each[2] or each[3]] == []


def test_clickhouse_keeps_its_data(tmp_path: Path) -> None:
    """What was acknowledged is there after kill -9 and after a clean end; a clean end leaves no port open."""
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
    """Bytes of another protocol, unknown users and databases leave the server as it was."""
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
    """ClickHouse's own page answers on the HTTP port."""
    http_port = free_port()
    with (
        running(clickhouse_program(tmp_path, free_port(), http_port)),
        urllib.request.urlopen(f"http://127.0.0.1:{http_port}/play", timeout=5) as page,
    ):
        assert b"<html" in page.read()
