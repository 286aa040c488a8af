"""The commands of an operator under ClickHouse users that have only the documented grants."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from db.clickhouse.client import connected
from db.clickhouse.schema import migrate
from local.clickhouse.server import CONFIGURATION, USERS, clickhouse_program
from local.processes.ports import free_port
from local.processes.program import running
from local.settings import ROOT
from tests.support.inputs.events import numbered
from tests.support.processes.clickhouse_files import with_pieces
from tests.support.processes.loading import identified, load, write
from tests.support.processes.system import Deployment

PAGES = [ROOT / "docs" / "operating" / name for name in ("backup.md", "deploy.md")]
GRANT = re.compile(r"^(GRANT .*) TO (\w+);$", re.MULTILINE)
USER = """<{name}><password/><networks><ip>127.0.0.1</ip></networks><profile>default</profile><quota>default</quota>
<grants>{grants}</grants></{name}>
"""
COMMAND_SECONDS_MAX = 60


@dataclass
class Restricted:
    """A server with one user for each purpose, and the addresses of its databases."""

    port: int

    def url(self, user: str, database: str = "ugc") -> str:
        return f"clickhouse://{user}@127.0.0.1:{self.port}/{database}"


def documented() -> dict[str, list[str]]:
    """Return the users of the pages with their grants."""
    found: dict[str, list[str]] = {}
    for page in PAGES:
        for grant, user in GRANT.findall(page.read_text(encoding="utf-8")):
            found.setdefault(user, []).append(grant)
    return found


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Restricted]:
    """Start a server that has the documented users and the database `ugc`."""
    folder, port = tmp_path / "clickhouse", free_port()
    program = clickhouse_program(folder, port, free_port())
    users = "".join(
        USER.format(name=name, grants="".join(f"<query>{grant}</query>" for grant in grants))
        for name, grants in documented().items()
    )
    backups = f"<backups><allowed_path>{folder / 'backups'}/</allowed_path></backups>"
    with running(with_pieces(program, {USERS: users, CONFIGURATION: backups})):
        restricted = Restricted(port)
        assert migrate(restricted.url("default"))
        yield restricted


def command(deployment: Deployment, url: str, module: str, *options: str) -> str:
    """Run a command as a user; it must succeed."""
    done = subprocess.run(
        [sys.executable, "-m", module, *options],
        env={**os.environ, **deployment.program("command", module).environment, "UGC_CLICKHOUSE_URL": url},
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS_MAX,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_audit_and_replay(server: Restricted, tmp_path: Path, kafka: str, topic: str) -> None:
    """`ugc-audit` judges everything, and `ugc-replay` sends a rejected message, each as its own user."""
    deployment = Deployment(tmp_path, kafka, topic, server.url("default"))
    write(deployment, [*(identified(numbered(number)) for number in range(10)), b"garbage"])
    with connected(server.url("default")) as tables:
        load(deployment, tables, 11)

    assert "clean" in command(deployment, server.url("audit"), "db.audit")
    assert "sent 1" in command(deployment, server.url("replay"), "db.replay", "--reason", "undecodable")


def test_backup_and_restore(server: Restricted) -> None:
    """One user makes a backup and one on top of it; another drops the database and restores it."""
    insert = (
        "INSERT INTO replayed_events SELECT generateUUIDv4(), 0, number, generateUUIDv4(), 0, now64(3) FROM numbers(5)"
    )
    with connected(server.url("default")) as tables, connected(server.url("backup", "default")) as backup:
        tables.rows(insert)
        backup.rows("BACKUP DATABASE ugc TO File('ugc-1')")
        tables.rows(insert)
        backup.rows("BACKUP DATABASE ugc TO File('ugc-2') SETTINGS base_backup = File('ugc-1')")
    with connected(server.url("restore", "default")) as restore:
        restore.rows("DROP DATABASE IF EXISTS ugc SYNC")
        restore.rows("RESTORE DATABASE ugc FROM File('ugc-2')")

    with connected(server.url("default")) as tables:
        assert tables.rows("SELECT count() FROM replayed_events") == [(10,)]
