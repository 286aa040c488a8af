"""Inserts blocks into ClickHouse, and reads which rows it holds.

Columns of `events` are sent in the table's own types, so that ClickHouse converts only times and what is rejected.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from clickhouse_driver.errors import Error as DriverError
from clickhouse_driver.errors import ServerException

from etl.clickhouse.client import Encoded, InsertClient, encode, for_driver
from etl.clickhouse.codes import THROW_IF, error_of
from etl.clickhouse.probing import PROBE_TABLE, Probing
from etl.clickhouse.queries import (
    EVERY_REPLICA_ANSWERS,
    IDENTITIES,
    LAST_OFFSET,
    NO_QUORUM,
    OFFSETS,
    QUORUM,
    ReadScope,
    all_replicas,
    confirmed_only,
)
from etl.errors import FencedError, SinkError
from etl.plan import EVENTS, REJECTED, Block, Coordinates
from etl.settings import EtlSettings

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


@contextlib.contextmanager
def connected(
    settings: EtlSettings, client_type: type[InsertClient] = InsertClient, beat: Callable[[], None] = lambda: None
) -> Iterator[ClickHouseSink]:
    """Create the client; it connects when first used, and again after each failure; `beat` is called at each packet."""
    # The driver logs a warning for each failed connection; the loader logs an outage once.
    logging.getLogger("clickhouse_driver").setLevel(logging.ERROR)
    client = client_type.from_url(settings.clickhouse_url)
    client.beat = beat
    client.connection.connect_timeout = settings.etl_connect_seconds_max
    client.connection.send_receive_timeout = settings.etl_answer_seconds_max
    # Otherwise the server ignores a misspelled setting.
    client.connection.settings_is_important = True
    try:
        yield ClickHouseSink(client, settings.etl_insert_seconds_max, settings.clickhouse_cluster)
    finally:
        client.disconnect()


class ClickHouseSink:
    """The tables `events` and `rejected_events`. For one thread."""

    def __init__(self, client: InsertClient, insert_seconds_max: int, cluster: str) -> None:
        self._client = client
        self._processes = f"clusterAllReplicas('{cluster}', system.processes)" if cluster else "system.processes"
        # Reads span all shards, because a partition's rows may be on another shard after a reassignment.
        self._all_replicas = all_replicas(cluster, client.connection.database)
        self._confirmed = confirmed_only(cluster)
        self._is_cluster = bool(cluster)
        self._settings = {
            # The server's default since version 26 is to answer before the rows are in their table.
            "async_insert": 0,
            "insert_deduplicate": 1,
            "max_execution_time": insert_seconds_max,
            # A batch is one block, so that it is stored as a whole or not at all.
            "max_insert_threads": 1,
            "max_block_size": 2_000_000,
            "max_insert_block_size": 2_000_000,
            "min_insert_block_size_rows": 0,
            "min_insert_block_size_bytes": 0,
            # Producers choose the timestamps: a hundred months in one batch must not stop the partition.
            "max_partitions_per_insert_block": 0,
        }
        if cluster:
            # Sequentially consistent reads recognize only one pending block of a table.
            self._settings["insert_quorum_parallel"] = 0
        self._probing = Probing(client, self._settings)

    def insert(self, block: Block) -> None:
        """Store a block; DataRefusedError if a value is at fault, else SinkError; after either it may be stored."""
        settings = {**self._settings, "insert_deduplication_token": block.name}
        data = encoded(block)
        if block.traceparent:
            settings["opentelemetry_traceparent"] = for_driver(block.traceparent)
        with self._translated():
            self._client.execute(statement(block), data, columnar=True, settings=settings, query_id=block.name)

    def begin_probes(self) -> None:
        """Let the next probe use the table as it is now."""
        self._probing.forget()

    def end_probes(self) -> None:
        """Drop the probe table with its connection."""
        self._probing.forget()
        self._client.disconnect()

    def probe(self, block: Block, *, thorough: bool) -> None:
        """Convert a block of events as its insert would, storing nothing; raises what `insert` raises.

        A thorough probe also computes the indices, projections and TTL of the parts.
        """
        query, data = f"{conversion(block, PROBE_TABLE)} FORMAT Native", encoded(block)
        with self._translated():
            self._probing.run(query, data, thorough=thorough, columnar=True)

    def accepts_good_rows(self, at: Coordinates, before: int, *, thorough: bool) -> bool:
        """Whether the table would accept any good row: one stored before an offset, or a synthetic one."""
        columns = [name for name, _, _ in EVENTS_WIRE]
        with self._translated():
            return self._probing.accepts_good_rows(columns, self._all_replicas.events, at, before, thorough=thorough)

    def now(self) -> int:
        """Return ClickHouse's time, in milliseconds since the Unix epoch."""
        ((now,),) = self._rows("SELECT toUnixTimestamp64Milli(now64(3))")
        return int(now)

    def is_inserting(self, at: Coordinates) -> bool:
        """Whether an insert into the partition is running, on any server."""
        query = f"SELECT count() FROM {self._processes} WHERE startsWith(query_id, %(name)s)"  # noqa: S608 -- a table name
        ((running,),) = self._rows(query, {"name": at.name}, EVERY_REPLICA_ANSWERS if self._is_cluster else {})
        return bool(running)

    def stored_offsets(self, at: Coordinates, first: int, last: int) -> set[int]:
        """Return the offsets from `first` to `last` that either table holds, on any replica of any shard."""
        return self._offsets(self._all_replicas, at, first, last)

    def confirmed_offsets(self, at: Coordinates, first: int, last: int) -> set[int]:
        """Return the offsets from `first` to `last` whose rows a quorum has confirmed; other rows may vanish.

        If inserts need no quorum, all rows that any replica holds count as confirmed.
        """
        return self._offsets(self._confirmed if self._has_quorum() else self._all_replicas, at, first, last)

    def last_stored(self, at: Coordinates, first: int) -> int | None:
        """Return the largest offset from `first` on that either table holds, on any replica of any shard."""
        query = self._all_replicas.in_both_tables(LAST_OFFSET)
        rows = self._rows(query, parameters(at, first, 0), self._all_replicas.settings)
        return max((last for last, count in rows if count), default=None)

    def recent_identities(self, at: Coordinates, first: int, last: int) -> tuple[Sequence[int], Sequence[bytes]]:
        """Return the offsets of events and duplicates from `first` to `last`, ascending, and their identities."""
        query = IDENTITIES.format(events=self._all_replicas.events, rejected=self._all_replicas.rejected)
        settings = {"strings_as_bytes": True, **self._all_replicas.settings}
        with self._translated():
            columns = self._client.execute(query, parameters(at, first, last), columnar=True, settings=settings)
        offsets, identities = columns or ((), ())
        return offsets, identities

    def _has_quorum(self) -> bool:
        if not self._is_cluster:
            return False
        ((quorum,),) = self._rows(QUORUM)
        return quorum.decode() not in NO_QUORUM

    def _offsets(self, scope: ReadScope, at: Coordinates, first: int, last: int) -> set[int]:
        query = scope.in_both_tables(OFFSETS)
        return {offset for (offset,) in self._rows(query, parameters(at, first, last), scope.settings)}

    def _rows(
        self, query: str, values: Mapping[str, object] | None = None, settings: Mapping[str, object] | None = None
    ) -> list[tuple[Any, ...]]:
        with self._translated():
            return list(self._client.execute(query, values, settings={"strings_as_bytes": True, **(settings or {})}))

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except ServerException as error:
            is_fence = error.code == THROW_IF and FENCED in str(error)
            text = first_line(error)
            raise (
                FencedError(text) if is_fence else error_of(error.code, text, is_cluster=self._is_cluster)
            ) from error
        except (DriverError, OSError, EOFError) as error:
            # The state of the connection is unknown; the next call reconnects.
            self._client.disconnect()
            raise SinkError(first_line(error)) from error


def encoded(block: Block) -> Encoded:
    """Encode the columns of a block."""
    columns = zip(block.columns, WIRE[block.table], strict=True)
    return Encoded(len(block.columns[0]), [encode(column, kind) for column, (_, kind, _) in columns])


def parameters(at: Coordinates, first: int, last: int) -> dict[str, object]:
    """Return the parameters of the queries."""
    return {"topic": at.topic.identity, "partition": at.partition, "first": max(first, 0), "last": last}


def first_line(error: Exception) -> str:
    """Return ClickHouse's message without its stack trace."""
    return f"{type(error).__name__}: {str(error).partition('Stack trace')[0].strip()}"
