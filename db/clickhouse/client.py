"""Connects to ClickHouse for administration: migrations, the audit, the status line of `ugc-up`."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit, urlunsplit

import clickhouse_driver
from clickhouse_driver.connection import Connection
from clickhouse_driver.errors import Error as DriverError
from clickhouse_driver.errors import ServerException

from common.clickhouse_settings import read_password_at_connect, without_password_file
from db.errors import StoreError, UnavailableError

CONNECT_SECONDS_MAX = 5
ANSWER_SECONDS_MAX = 60
# Every error that the driver would log is raised, and the caller reports it in one line.
logging.getLogger("clickhouse_driver").setLevel(logging.CRITICAL)


class RefusedError(StoreError):
    """ClickHouse answered with an error; `code` is ClickHouse's number for it."""

    def __init__(self, error: ServerException, server: str = "ClickHouse") -> None:
        super().__init__(f"{server}: {error.message.partition('Stack trace')[0].strip()}")
        self.code: int = error.code


class ClickHouse:
    """One connection, to be used by one thread at a time."""

    def __init__(self, url: str) -> None:
        self._server = f"ClickHouse at {address_of(url)} (UGC_CLICKHOUSE_URL)"
        for_driver, password_file = without_password_file(url)
        self._client = clickhouse_driver.Client.from_url(for_driver)
        read_password_at_connect(self._client.connection, password_file)
        self._client.connection.connect_timeout = CONNECT_SECONDS_MAX
        self._client.connection.send_receive_timeout = ANSWER_SECONDS_MAX
        pass_over_frozen_servers(self._client.connection)

    def rows(
        self, query: str, parameters: dict[str, Any] | None = None, settings: Mapping[str, object] | None = None
    ) -> list[tuple[Any, ...]]:
        """Run a query and return its rows; raise RefusedError or UnavailableError."""
        with self._translated():
            return list(self._client.execute(query, parameters, settings=settings))

    def records(self, query: str, parameters: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        """Run a query and return its rows by column name."""
        with self._translated():
            rows, columns = self._client.execute(query, parameters, with_column_types=True)
            return [dict(zip((name for name, _ in columns), row, strict=True)) for row in rows]

    def insert(self, query: str, rows: list[tuple[Any, ...]]) -> None:
        """Insert rows."""
        with self._translated():
            self._client.execute(query, rows)

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except ServerException as error:
            raise RefusedError(error, self._server) from error
        except (DriverError, OSError, EOFError, UnicodeDecodeError) as error:
            # The connection's state is unknown; the next call opens a new one. UnicodeDecodeError: the driver cannot
            # read an error of the server that quotes bytes of a value.
            self._client.disconnect()
            raise UnavailableError(f"{self._server} does not answer: {error}") from error


def pass_over_frozen_servers(connection: Connection) -> None:
    """Let a connection go on to the next server when one accepts it and sends nothing."""
    receive_hello = connection.receive_hello

    def receive_hello_in_time() -> None:
        # The driver would wait as long as for the answer to a query.
        connection.socket.settimeout(connection.connect_timeout)
        receive_hello()
        connection.socket.settimeout(connection.send_receive_timeout)

    connection.receive_hello = receive_hello_in_time


@contextlib.contextmanager
def connected(url: str) -> Iterator[ClickHouse]:
    """Yield a connection to a clickhouse:// URL; it is opened by the first query and closed at the end."""
    connection = ClickHouse(url)
    try:
        yield connection
    finally:
        connection._client.disconnect()  # noqa: SLF001 -- the same module


def address_of(url: str) -> str:
    """Return the servers that a URL names, without user and password."""
    parts = urlsplit(url)
    others = parse_qs(parts.query).get("alt_hosts", [])
    return ",".join([parts.netloc.rpartition("@")[2], *others])


def database_of(url: str) -> str:
    """Return the database that a URL names."""
    return urlsplit(url).path.lstrip("/")


def with_database(url: str, database: str) -> str:
    """Return the URL with another database."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{database}"))
