"""The roles of db/clickhouse/roles.sql: each is enough for its process, which names a grant that it lacks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.clickhouse_settings import with_password_file
from common.secret_files import SecretFile
from db.clickhouse.client import RefusedError, connected
from db.clickhouse.schema import STATEMENT_END, migrate
from db.errors import UnavailableError
from etl.clickhouse.queries import RUNNING
from local.processes.ports import free_port
from local.processes.program import running
from tests.support.certificates import Certificates
from tests.support.inputs.events import numbered
from tests.support.processes.loading import await_rows, identified, write
from tests.support.processes.system import Deployment, await_equal, get
from tests.support.security.clickhouse import ROLES, SecuredClickHouse, documented, secured_clickhouse

# Denied with the grant that is missing, by ClickHouse itself.
DENIED = re.compile(r"necessary to have the grant ")


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredClickHouse]:
    """Run a server with a user for each role, and users that each lack one grant of the etl's."""
    folder = tmp_path_factory.mktemp("roles")
    users = documented()
    # The grants for the search of refused events are tested in test_rights.py.
    for number, grant in enumerate(users["etl"]):
        if grant.startswith(("GRANT SELECT, INSERT ON", "GRANT SELECT ON system.processes")):
            users[f"etl_{number}"] = [each for each in users["etl"] if each != grant]
    with secured_clickhouse(folder, Certificates(folder / "certificates"), users) as server:
        assert migrate(url(server, "migrate"))
        assert migrate(url(server, "migrate")) == []
        yield server


def url(server: SecuredClickHouse, user: str) -> str:
    return with_password_file(server.url(user), SecretFile(server.password(user)))


def test_statements_are_valid(secured: SecuredClickHouse) -> None:
    """ClickHouse parses each statement of the file, which the server of the tests cannot execute."""
    statements = [text.strip() for text in STATEMENT_END.split(ROLES.read_text(encoding="utf-8")) if text.strip()]
    with connected(secured.administrator) as administrator:
        for statement in statements:
            assert administrator.rows(f"EXPLAIN AST {statement}")
    assert len(statements) > 15


@pytest.mark.parametrize("user", ["etl", "etl_0", "etl_1"])
def test_etl(secured: SecuredClickHouse, user: str, tmp_path: Path, kafka: str, topic: str) -> None:
    """The etl loads with the grants of its role; without one it is not ready, and names what it lacks."""
    port = free_port()
    settings = {
        "UGC_CLICKHOUSE_PASSWORD_FILE": str(secured.password(user)),
        "UGC_ETL_MANAGEMENT_LISTEN": f"127.0.0.1:{port}",
        "UGC_ETL_RETRY_SECONDS_MAX": "0.5",
    }
    deployment = Deployment(tmp_path, kafka, topic, secured.url(user), settings)
    with connected(secured.administrator) as tables:
        for table in ("events", "rejected_events"):
            tables.rows(f"TRUNCATE TABLE {table}")
        # A rejected message too: its table is another one.
        write(deployment, [*(identified(numbered(number)) for number in range(5)), b"garbage"])
        with running(deployment.etl()):
            if user == "etl":
                await_rows(tables, 6)
            else:
                await_equal(lambda: bool(DENIED.search(readiness(port))), wanted=True)
                assert DENIED.search(deployment.log("etl"))


def test_recovery(secured: SecuredClickHouse) -> None:
    """A recovery asks whether an insert runs, for which it needs a grant of its own."""
    for user, missing in {"etl": "", "etl_2": "system.processes"}.items():
        with connected(url(secured, user)) as connection:
            if missing:
                with pytest.raises(RefusedError, match=f"necessary to have the grant SELECT.* ON {missing}"):
                    connection.rows(RUNNING, {"name": "x"})
            else:
                assert connection.rows(RUNNING, {"name": "x"}) == [(0,)]


def readiness(port: int) -> str:
    return get(f"http://127.0.0.1:{port}/readyz")[1].decode()


def test_readers(secured: SecuredClickHouse) -> None:
    """An analyst and the audit read every table, and write to none; ugc-replay writes to its own table alone."""
    for user in ("reader", "audit"):
        with connected(url(secured, user)) as connection:
            connection.rows("SELECT count() FROM events, rejected_events, replayed_events, conservation")
            for table in ("events", "rejected_events", "replayed_events"):
                with pytest.raises(RefusedError, match="necessary to have the grant INSERT"):
                    connection.rows(f"INSERT INTO {table} SELECT * FROM {table}")
    with connected(url(secured, "replay")) as connection:
        connection.rows("INSERT INTO replayed_events SELECT * FROM replayed_events")
        with pytest.raises(RefusedError, match="necessary to have the grant"):
            connection.rows("SELECT count() FROM events")


def test_connections(secured: SecuredClickHouse, tmp_path: Path) -> None:
    """A wrong authority, a wrong password and plain text are refused; a corrected file is used without a restart."""
    other = secured.certificates.other_authority.file
    refused = url(secured, "audit").replace(str(secured.certificates.authority.file), str(other))
    with connected(refused) as connection, pytest.raises(UnavailableError, match="CERTIFICATE_VERIFY_FAILED"):
        connection.rows("SELECT 1")
    plain = url(secured, "audit").replace("clickhouses://", "clickhouse://").replace("ca_certs=", "client_name=")
    with connected(plain) as connection, pytest.raises(UnavailableError):
        connection.rows("SELECT 1")
    file = tmp_path / "password"
    file.write_text("wrong\n")
    with connected(with_password_file(secured.url("audit"), SecretFile(file))) as connection:
        with pytest.raises(RefusedError, match="Authentication failed") as raised:
            connection.rows("SELECT 1")
        assert "wrong" not in str(raised.value)
        file.write_text(secured.password("audit").read_text())
        assert connection.rows("SELECT 1") == [(1,)]


def test_client_certificates(tmp_path: Path, secured: SecuredClickHouse) -> None:
    """A server that demands a certificate gets the one of the URL."""
    certificates, users = secured.certificates, {"audit": documented()["audit"]}
    with secured_clickhouse(tmp_path / "mutual", certificates, users, certificates.authority.file) as server:
        pair = certificates.client
        with connected(
            f"{url(server, 'audit')}&certfile={pair.certificate}&keyfile={pair.key}".replace("/ugc?", "/default?")
        ) as one:
            assert one.rows("SELECT 1") == [(1,)]
        with connected(url(server, "audit").replace("/ugc?", "/default?")) as one, pytest.raises(UnavailableError):
            one.rows("SELECT 1")
