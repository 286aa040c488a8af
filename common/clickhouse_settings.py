"""How a process connects to ClickHouse: a URL, which may name a file with the password."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Protocol
from urllib.parse import parse_qs, parse_qsl, quote, urlencode, urlsplit, urlunsplit

from pydantic import Field, ValidationInfo, field_validator

from common.secret_files import SecretFile, SecretFileSetting, readable, secret_file
from common.settings import CLICKHOUSE_URL, Documented, Settings

# A parameter of the URL; the driver knows none of this name.
PASSWORD_FILE = "password_file"  # noqa: S105 -- the name of a parameter
# The parameter with further servers.
OTHERS = "alt_hosts"
FILES = ("ca_certs", "certfile", "keyfile")


class ClickHouseSettings(Settings):
    """The ClickHouse server or cluster that stores the events."""

    # Read first, because it becomes a part of the URL.
    clickhouse_password_file: SecretFileSetting = None
    """File with the password of the user in UGC_CLICKHOUSE_URL, which then has none. It is read for each connection, so
    that a new password needs no restart."""

    clickhouse_url: Annotated[str, Documented("URL")] = Field(
        default="clickhouse://default@localhost:9000/ugc",
        pattern=f"^{CLICKHOUSE_URL}$",
        validate_default=True,
    )
    """ClickHouse server, user and database, as `clickhouse://user@host:port/database`; `clickhouses://` encrypts. Its
    query may have `ca_certs`, `certfile` and `keyfile` (paths), `alt_hosts` (other replicas, as `host:port`), and
    settings of ClickHouse. A password stands after the user's name and a colon, or better in a file of its own."""

    clickhouse_cluster: Annotated[str, Documented("letters, digits, '_'")] = Field(
        default="", pattern=r"^[A-Za-z0-9_]*$"
    )
    """Name of the cluster in ClickHouse's configuration whose servers store the rows; empty for a single server."""

    @field_validator("clickhouse_url")
    @classmethod
    def _with_password_file(cls, url: str, info: ValidationInfo) -> str:
        return with_password_file(url, info.data.get("clickhouse_password_file"))


def with_password_file(url: str, file: SecretFile | None = None) -> str:
    """Return the URL with the file as a parameter; ValueError when the URL is not consistent, or lacks a file."""
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    for name in FILES:
        if path := query.get(name):
            readable(Path(path))
        if name in query and parts.scheme != "clickhouses":
            raise ValueError(f"{name} needs clickhouses://, because clickhouse:// does not encrypt")
    if "keyfile" in query and "certfile" not in query:
        raise ValueError("keyfile needs certfile")
    if file is not None and PASSWORD_FILE not in query:
        query[PASSWORD_FILE] = str(file.path)
        url += f"{'&' if parts.query else '?'}{PASSWORD_FILE}={quote(str(file.path))}"
    if PASSWORD_FILE in query:
        if parts.password:
            raise ValueError("has a password although UGC_CLICKHOUSE_PASSWORD_FILE names a file with it")
        secret_file(query[PASSWORD_FILE])
    return url


def server_urls(url: str) -> list[str]:
    """Return a URL for each server that a URL names: its host, and the others in `alt_hosts`."""
    parts = urlsplit(url)
    query = parse_qs(parts.query, keep_blank_values=True)
    others = [host for value in query.pop(OTHERS, []) for host in value.split(",")]
    rest = parts._replace(query=urlencode(query, doseq=True))
    user, at, host = parts.netloc.rpartition("@")
    return [urlunsplit(rest._replace(netloc=f"{user}{at}{each}")) for each in (host, *others)]


def without_password_file(url: str) -> tuple[str, SecretFile | None]:
    """Return the URL as the driver takes it, and the file with the password if the URL names one."""
    parts = urlsplit(url)
    query = parse_qsl(parts.query, keep_blank_values=True)
    path = dict(query).get(PASSWORD_FILE)
    if path is None:
        return url, None
    rest = [(name, value) for name, value in query if name != PASSWORD_FILE]
    return urlunsplit(parts._replace(query=urlencode(rest, quote_via=quote))), SecretFile(Path(path))


class Connection(Protocol):
    """A connection of the driver."""

    password: str
    send_hello: Callable[[], None]


def read_password_at_connect(connection: Connection, file: SecretFile | None) -> None:
    """Let a connection read its password from the file each time it is established."""
    if file is None:
        return
    send_hello = connection.send_hello

    def send_hello_with_password() -> None:
        try:
            connection.password = file.read()
        except ValueError as error:
            # The driver reports it as a failure to connect, and connects again later.
            raise OSError(errno.EACCES, str(error)) from error
        send_hello()

    connection.send_hello = send_hello_with_password
