"""A ClickHouse server with the documented users, behind TLS."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from local.clickhouse.server import USERS, clickhouse_program
from local.processes.ports import free_port
from local.processes.program import running
from local.settings import ROOT
from tests.support.certificates import Certificates
from tests.support.processes.clickhouse_files import with_pieces
from tests.support.security.tls_proxy import encrypted

ROLES = ROOT / "db" / "clickhouse" / "roles.sql"
GRANT = re.compile(r"^(GRANT [^;]*) TO ugc_(\w+);$", re.MULTILINE)
USER = """<{name}><password_sha256_hex>{password}</password_sha256_hex><networks><ip>127.0.0.1</ip></networks>
<profile>{profile}</profile><quota>default</quota><grants>{grants}</grants></{name}>
"""
DATABASE = "ugc"


def documented() -> dict[str, list[str]]:
    """Return the grants of each role of db/clickhouse/roles.sql, without `ugc_`.

    The server of the tests, ClickHouse's library, cannot store roles, so that its configuration has their grants.
    """
    found: dict[str, list[str]] = {}
    for grant, role in GRANT.findall(ROLES.read_text(encoding="utf-8")):
        found.setdefault(role, []).append(" ".join(grant.split()))
    return found


@dataclass
class SecuredClickHouse:
    """The addresses of a server, and the files with the passwords of its users."""

    folder: Path
    certificates: Certificates
    port: int
    tls_port: int

    def url(self, user: str) -> str:
        """Return the encrypted URL of a user, who authenticates by a password in a file."""
        return f"clickhouses://{user}@127.0.0.1:{self.tls_port}/{DATABASE}?ca_certs={self.certificates.authority.file}"

    def password(self, user: str) -> Path:
        """Return the file with a user's password."""
        return self.folder / f"{user}.password"

    @property
    def administrator(self) -> str:
        """The URL of an administrator."""
        return f"clickhouse://default@127.0.0.1:{self.port}/{DATABASE}"


@contextmanager
def secured_clickhouse(
    folder: Path,
    certificates: Certificates,
    users: dict[str, list[str]] | None = None,
    client_authority: Path | None = None,
) -> Iterator[SecuredClickHouse]:
    """Run a server with a user for each role, or with other users by their grants."""
    port, pieces = free_port(), ""
    folder.mkdir(parents=True, exist_ok=True)
    for name, grants in (users or documented()).items():
        password = f"password-of-{name}"
        (folder / f"{name}.password").write_text(f"{password}\n")
        queries = "".join(f"<query>{grant}</query>" for grant in grants)
        digest = sha256(password.encode()).hexdigest()
        pieces += USER.format(name=name, password=digest, profile="default", grants=queries)
    program = with_pieces(clickhouse_program(folder / "data", port, free_port()), {USERS: pieces})
    with running(program), encrypted(port, certificates.server, client_authority) as tls_port:
        yield SecuredClickHouse(folder, certificates, port, tls_port)
