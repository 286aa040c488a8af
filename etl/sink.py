"""Inserts rows into ClickHouse, a batch as one block per table.

Strings and integers go over the wire as they are; ClickHouse converts them in the SELECT, which is several times
cheaper than Python objects.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import clickhouse_driver
from clickhouse_driver.errors import Error as DriverError

from etl.errors import SinkError
from etl.rows import Rows
from etl.settings import EtlSettings

# Column of `events`, its type on the wire, and the expression that makes the stored value of it.
EVENTS = (
    ("event_id", "FixedString(16)", "toUUID(UUIDNumToString(event_id))"),
    ("event", "String", "event"),
    ("movie_id", "String", "toUUID(movie_id)"),
    ("user_id", "String", "toUUID(user_id)"),
    ("event_data", "String", "event_data"),
    ("event_time", "Int64", "fromUnixTimestamp64Milli(event_time * 1000)"),
    ("language", "String", "language"),
    ("timezone", "String", "timezone"),
    ("ip", "String", "ip"),
    ("version", "String", "version"),
    ("client_data", "String", "client_data"),
    ("received_at", "Int64", "fromUnixTimestamp64Milli(received_at)"),
    ("kafka_offset", "UInt64", "kafka_offset"),
)
REJECTED = (
    ("kafka_offset", "UInt64", "kafka_offset"),
    ("reason", "String", "reason"),
    ("error", "String", "error"),
    ("raw", "String", "raw"),
    ("kafka_time", "Int64", "fromUnixTimestamp64Milli(kafka_time)"),
)
# Until the plan protocol brings the topic's identity.
NO_TOPIC = "00000000-0000-0000-0000-000000000000"
INSERT_SETTINGS = {
    # The server's default since 26 is to answer before the rows are stored in their table.
    "async_insert": 0,
    "insert_deduplicate": 0,
    "max_execution_time": 20,
    # A batch is one block, so that it is stored as a whole or not at all.
    "max_insert_block_size": 10_000_000,
    "min_insert_block_size_rows": 0,
    "min_insert_block_size_bytes": 0,
}


def statement(table: str, columns: tuple[tuple[str, str, str], ...], partition: int) -> str:
    """Write the INSERT that converts on the server; the partition is the same for all rows of a batch."""
    names = ", ".join(name for name, _, _ in columns)
    values = ", ".join(f"{expression} AS {name}_" for name, _, expression in columns)
    wire = ", ".join(f"{name} {kind}" for name, kind, _ in columns)
    return (
        f"INSERT INTO {table} ({names}, kafka_topic_id, kafka_partition) "  # noqa: S608 -- names of ours
        f"SELECT {values}, toUUID('{NO_TOPIC}') AS kafka_topic_id_, {partition} AS kafka_partition_ "
        f"FROM input('{wire}') FORMAT Native"
    )


@contextlib.contextmanager
def connected(settings: EtlSettings) -> Iterator[ClickHouseSink]:
    """Make the client; it connects when first used, and again after each failure."""
    client = clickhouse_driver.Client.from_url(settings.clickhouse_url)
    client.connection.connect_timeout = settings.etl_connect_seconds_max
    client.connection.send_receive_timeout = settings.etl_answer_seconds_max
    try:
        yield ClickHouseSink(client)
    finally:
        client.disconnect()


class ClickHouseSink:
    """The tables `events` and `rejected_events`."""

    def __init__(self, client: clickhouse_driver.Client) -> None:
        self._client = client

    def insert(self, partition: int, rows: Rows) -> None:
        """Store a batch; SinkError when ClickHouse has not acknowledged all of it."""
        if rows.rejected:
            rejected: list[list[object]] = [
                [each.offset for each in rows.rejected],
                [each.reason for each in rows.rejected],
                [each.error for each in rows.rejected],
                [each.raw for each in rows.rejected],
                [each.kafka_milliseconds for each in rows.rejected],
            ]
            self._execute(statement("rejected_events", REJECTED, partition), rejected)
        if rows.events:
            self._execute(statement("events", EVENTS, partition), rows.columns)

    def _execute(self, query: str, columns: list[list[object]]) -> None:
        try:
            self._client.execute(query, columns, columnar=True, settings=INSERT_SETTINGS)
        except (DriverError, OSError, EOFError) as error:
            # The connection's state is unknown; the next try makes a new one.
            self._client.disconnect()
            raise SinkError(first_line(error)) from error


def first_line(error: Exception) -> str:
    """Return the part of ClickHouse's message that says what is wrong, without its stack trace."""
    return f"{type(error).__name__}: {str(error).partition('Stack trace')[0].strip()}"
