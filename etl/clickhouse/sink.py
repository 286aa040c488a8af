"""Inserts blocks into ClickHouse, and asks it what it holds.

Strings and integers go over the wire as they stand in Arrow's buffers; ClickHouse converts them in the SELECT, which
is many times cheaper than Python objects.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from clickhouse_driver.errors import Error as DriverError
from clickhouse_driver.errors import ServerException

from common.failpoints import armed
from etl.block import EVENTS, REJECTED, Block, Coordinates
from etl.clickhouse.client import Encoded, InsertClient
from etl.clickhouse.codes import THROW_IF, error_of
from etl.clickhouse.native import encode
from etl.clickhouse.probing import TWIN, Probing
from etl.clickhouse.reads import (
    EVERY_REPLICA_ANSWERS,
    HELD,
    LAST,
    NO_QUORUM,
    QUORUM,
    RECENT,
    Read,
    of_confirmed,
    of_every_replica,
)
from etl.errors import SinkError
from etl.interruption import interrupt
from etl.settings import EtlSettings

# Column of `events`, its type on the wire, and the expression that makes the stored value of it.
EVENTS_WIRE = (
    ("event_id", "FixedString(16)", "toUUID(UUIDNumToString(event_id))"),
    ("event", "String", "event"),
    ("movie_id", "FixedString(36)", "toUUID(movie_id)"),
    ("user_id", "FixedString(36)", "toUUID(user_id)"),
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
    """Write the INSERT that converts on the server, and that the server refuses once the deadline has passed."""
    fence = f"throwIf(now64(3) > fromUnixTimestamp64Milli({block.deadline}), '{FENCED}') = 0"
    return f"{conversion(block, block.table)} WHERE {fence} FORMAT Native"


def conversion(block: Block, table: str) -> str:
    """Write the part of the INSERT that converts."""
    columns = WIRE[block.table]
    names = ", ".join(name for name, _, _ in columns)
    values = ", ".join(f"{expression} AS {name}_" for name, _, expression in columns)
    wire = ", ".join(f"{name} {kind}" for name, kind, _ in columns)
    return (
        f"INSERT INTO {table} ({names}, kafka_topic_id, kafka_partition) "  # noqa: S608 -- names and numbers of ours
        f"SELECT {values}, toUUID('{block.at.topic.identity}') AS topic_, {block.at.partition} AS partition_ "
        f"FROM input('{wire}')"
    )


@contextlib.contextmanager
def connected(settings: EtlSettings) -> Iterator[ClickHouseSink]:
    """Make the client; it connects when first used, and again after each failure."""
    # The driver warns of each connection that fails or is gone already; the loader says an outage once.
    logging.getLogger("clickhouse_driver").setLevel(logging.ERROR)
    client = InsertClient.from_url(settings.clickhouse_url)
    client.connection.connect_timeout = settings.etl_connect_seconds_max
    client.connection.send_receive_timeout = settings.etl_answer_seconds_max
    # Otherwise the server passes over a misspelled setting in silence.
    client.connection.settings_is_important = True
    if armed():
        interrupt(client)
    try:
        yield ClickHouseSink(client, settings.etl_insert_seconds_max, settings.clickhouse_cluster)
    finally:
        client.disconnect()


class ClickHouseSink:
    """The tables `events` and `rejected_events`. For one thread."""

    def __init__(self, client: InsertClient, insert_seconds_max: int, cluster: str) -> None:
        self._client = client
        self._processes = f"clusterAllReplicas('{cluster}', system.processes)" if cluster else "system.processes"
        # A partition may have been another shard's before: what is asked spans them all.
        self._anywhere = of_every_replica(cluster, client.connection.database)
        self._confirmed = of_confirmed(cluster)
        # On a cluster an insert whose time runs out may have been waiting for its quorum, whatever its size.
        self._is_cluster = bool(cluster)
        self._settings = {
            # The server's default since 26 is to answer before the rows are stored in their table.
            "async_insert": 0,
            "insert_deduplicate": 1,
            "max_execution_time": insert_seconds_max,
            # A batch is one block, so that it is stored as a whole or not at all.
            "max_insert_threads": 1,
            "max_block_size": 2_000_000,
            "max_insert_block_size": 2_000_000,
            "min_insert_block_size_rows": 0,
            "min_insert_block_size_bytes": 0,
            # Timestamps of messages are their producers': a hundred months in one batch must not stop the partition.
            "max_partitions_per_insert_block": 0,
        }
        if cluster:
            # A confirmed read knows of one pending block a table, and no more.
            self._settings["insert_quorum_parallel"] = 0
        self._probing = Probing(client, self._settings)

    def insert(self, block: Block) -> None:
        """Store a block; DataRefusedError when a value of it is at fault, SinkError else; either may have stored it."""
        settings = {**self._settings, "insert_deduplication_token": block.name}
        data = encoded(block)
        with self._translated():
            self._client.execute(statement(block), data, columnar=True, settings=settings, query_id=block.name)

    def begin_probes(self) -> None:
        """Have the next probe see the table as it is now."""
        self._probing.forget()

    def end_probes(self) -> None:
        """Let go of what probes have needed."""
        self._probing.forget()
        self._client.disconnect()

    def probe(self, block: Block, *, thorough: bool) -> None:
        """Convert a block of events as its insert would, storing nothing; errors as those of `insert`.

        A thorough probe also computes what only a part of the table computes: its indices, its projections, its TTL.
        """
        query, data = f"{conversion(block, TWIN)} FORMAT Native", encoded(block)
        with self._translated():
            self._probing.run(query, data, thorough=thorough, columnar=True)

    def takes_any(self, at: Coordinates, before: int, *, thorough: bool) -> bool:
        """Whether the table would take any of the rows that are good: stored before an offset, or synthetic ones."""
        columns = [name for name, _, _ in EVENTS_WIRE]
        with self._translated():
            return self._probing.takes_any(columns, self._anywhere.events, at, before, thorough=thorough)

    def now(self) -> int:
        """Return ClickHouse's time, in milliseconds since the Unix epoch."""
        ((now,),) = self._rows("SELECT toUnixTimestamp64Milli(now64(3))")
        return int(now)

    def is_inserting(self, at: Coordinates) -> bool:
        """Whether an insert into the partition still runs, on any server."""
        query = f"SELECT count() FROM {self._processes} WHERE startsWith(query_id, %(name)s)"  # noqa: S608 -- ours
        ((running,),) = self._rows(query, {"name": at.name}, EVERY_REPLICA_ANSWERS if self._is_cluster else {})
        return bool(running)

    def held(self, at: Coordinates, first: int, last: int) -> set[int]:
        """Return which offsets from `first` to `last` are rows of either table, on any replica of any shard."""
        return self._held(self._anywhere, at, first, last)

    def confirmed(self, at: Coordinates, first: int, last: int) -> set[int]:
        """Return which offsets from `first` to `last` are rows that have reached their quorum; no other row is safe.

        Where inserts need no quorum, every row that a replica holds is as safe as it gets.
        """
        return self._held(self._confirmed if self._has_quorum() else self._anywhere, at, first, last)

    def last_held(self, at: Coordinates, first: int) -> int | None:
        """Return the largest offset from `first` on that either table holds, on any replica of any shard."""
        rows = self._rows(self._anywhere.of_both(LAST), parameters(at, first, 0), self._anywhere.settings)
        return max((last for last, count in rows if count), default=None)

    def recent(self, at: Coordinates, first: int, last: int) -> tuple[Sequence[int], Sequence[bytes]]:
        """Return the offsets of events and repeats from `first` to `last`, ascending, and their identities."""
        query = RECENT.format(events=self._anywhere.events, rejected=self._anywhere.rejected)
        return self._columns(query, parameters(at, first, last), self._anywhere.settings) or ((), ())

    def _has_quorum(self) -> bool:
        if not self._is_cluster:
            return False
        ((quorum,),) = self._rows(QUORUM)
        return quorum.decode() not in NO_QUORUM

    def _held(self, read: Read, at: Coordinates, first: int, last: int) -> set[int]:
        return {offset for (offset,) in self._rows(read.of_both(HELD), parameters(at, first, last), read.settings)}

    def _rows(
        self, query: str, values: dict[str, Any] | None = None, settings: Mapping[str, Any] | None = None
    ) -> list[tuple[Any, ...]]:
        with self._translated():
            return list(self._client.execute(query, values, settings={"strings_as_bytes": True, **(settings or {})}))

    def _columns(self, query: str, values: dict[str, Any], settings: Mapping[str, Any]) -> Any:  # noqa: ANN401 -- a tuple of each column's values
        with self._translated():
            settings = {"strings_as_bytes": True, **settings}
            return self._client.execute(query, values, columnar=True, settings=settings)

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except ServerException as error:
            is_fence = error.code == THROW_IF and FENCED in str(error)
            text = first_line(error)
            raise (SinkError(text) if is_fence else error_of(error.code, text, is_cluster=self._is_cluster)) from error
        except (DriverError, OSError, EOFError) as error:
            # The connection's state is unknown; the next call makes a new one.
            self._client.disconnect()
            raise SinkError(first_line(error)) from error


def encoded(block: Block) -> Encoded:
    """Encode the columns of a block."""
    columns = zip(block.columns, WIRE[block.table], strict=True)
    return Encoded(len(block.columns[0]), [encode(column, kind) for column, (_, kind, _) in columns])


def parameters(at: Coordinates, first: int, last: int) -> dict[str, Any]:
    """Return what the queries above ask for."""
    return {"topic": at.topic.identity, "partition": at.partition, "first": max(first, 0), "last": last}


def first_line(error: Exception) -> str:
    """Return the part of ClickHouse's message that says what is wrong, without its stack trace."""
    return f"{type(error).__name__}: {str(error).partition('Stack trace')[0].strip()}"
