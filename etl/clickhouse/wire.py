"""Blocks as ClickHouse receives them: the INSERT statement, and the encoded columns.

Columns of `events` are sent in the table's own types, so that ClickHouse converts only times and what is rejected.
"""

from __future__ import annotations

from etl.clickhouse.client import Encoded, encode
from etl.plan import EVENTS, REJECTED, Block

# Column of `events`, its type on the wire, and the expression that converts it to the stored value.
EVENTS_WIRE = (
    ("event_id", "UUID", "event_id"),
    ("event", "LowCardinality(String)", "event"),
    ("movie_id", "UUID", "movie_id"),
    ("user_id", "UUID", "user_id"),
    ("event_data", "String", "event_data"),
    ("event_time", "Int64", "fromUnixTimestamp64Milli(event_time * 1000)"),
    ("language", "LowCardinality(String)", "language"),
    ("timezone", "LowCardinality(String)", "timezone"),
    ("ip", "String", "ip"),
    ("version", "LowCardinality(String)", "version"),
    ("client_data", "String", "client_data"),
    ("received_at", "Int64", "fromUnixTimestamp64Milli(received_at)"),
    ("kafka_offset", "UInt64", "kafka_offset"),
)
REJECTED_WIRE = (
    ("kafka_offset", "UInt64", "kafka_offset"),
    ("reason", "String", "reason"),
    ("error", "String", "error"),
    ("raw", "String", "raw"),
    ("kafka_time", "Int64", "fromUnixTimestamp64Milli(kafka_time)"),
    ("event_id", "String", "if(empty(event_id), NULL, toUUID(UUIDNumToString(toFixedString(event_id, 16))))"),
    ("user_id", "String", "if(empty(user_id), NULL, toUUID(UUIDNumToString(toFixedString(user_id, 16))))"),
)
WIRE = {EVENTS: EVENTS_WIRE, REJECTED: REJECTED_WIRE}
FENCED = "FENCED"


def statement(block: Block) -> str:
    """Return the INSERT, which the server refuses once the deadline has passed."""
    fence = f"throwIf(now64(3) > fromUnixTimestamp64Milli({block.deadline}), '{FENCED}') = 0"
    return f"{conversion(block, block.table)} WHERE {fence} FORMAT Native"


def conversion(block: Block, table: str) -> str:
    """Return the part of the INSERT that converts the columns."""
    columns = WIRE[block.table]
    names = ", ".join(name for name, _, _ in columns)
    values = ", ".join(f"{expression} AS {name}_" for name, _, expression in columns)
    wire = ", ".join(f"{name} {kind}" for name, kind, _ in columns)
    return (
        f"INSERT INTO {table} ({names}, kafka_topic_id, kafka_partition) "  # noqa: S608 -- constant names, a UUID and a number
        f"SELECT {values}, toUUID('{block.at.topic.identity}') AS topic_, {block.at.partition} AS partition_ "
        f"FROM input('{wire}')"
    )


def encoded(block: Block) -> Encoded:
    """Encode the columns of a block."""
    columns = zip(block.columns, WIRE[block.table], strict=True)
    return Encoded(len(block.columns[0]), [encode(column, kind) for column, (_, kind, _) in columns])
