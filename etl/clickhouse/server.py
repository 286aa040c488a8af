"""One ClickHouse server: inserts blocks into its tables, and reads which rows it holds itself."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from clickhouse_driver.errors import Error as DriverError
from clickhouse_driver.errors import ServerException

from common.partition_change import PREFIX
from etl.clickhouse.client import InsertClient, for_driver
from etl.clickhouse.codes import THROW_IF, error_of
from etl.clickhouse.probing import PROBE_TABLE, Probing
from etl.clickhouse.queries import (
    IDENTITIES,
    LAST_OFFSET,
    MOVED_IDENTITIES,
    NOW,
    OFFSETS,
    PARTITION_CHANGES,
    REPLICAS,
    RUNNING,
    in_both_tables,
)
from etl.clickhouse.wire import EVENTS_WIRE, FENCED, conversion, encoded, statement
from etl.errors import FencedError, SinkError
from etl.plan import EVENTS, Block, Coordinates

# How long an insert waits for its quorum; then the block is on one replica, and is confirmed when others fetch it. In
# this time the process inserts nothing else.
QUORUM_MILLISECONDS_MAX = 5_000
NO_QUORUM = 1
# The order of the rows' offsets and identities in the answer.
OFFSET, IDENTITY = 0, 1


class ClusterReplica(NamedTuple):
    """A replica in the cluster's configuration of a server; `server` is the identity of the server that was asked."""

    shard_number: int
    is_local: bool
    server: str


class Moved(NamedTuple):
    """The users that are in a partition once a topic has so many."""

    to: int
    partitions: int


class ClickHouseServer:
    """The tables `events` and `rejected_events` of a server. For one thread.

    A block that is inserted with a quorum above 1 is acknowledged when so many replicas hold it. `name` is part of the
    errors, if it is not empty.
    """

    def __init__(
        self, client: InsertClient, insert_seconds_max: int, quorum: int = NO_QUORUM, *, name: str = ""
    ) -> None:
        self._client = client
        self._prefix = f"{name}: " if name else ""
        self._has_quorum = quorum > NO_QUORUM
        self._settings: dict[str, object] = {
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
        self._read_settings: dict[str, object] = {"strings_as_bytes": True}
        if name:
            self._settings |= {
                "insert_quorum": quorum if self._has_quorum else 0,
                # Several processes insert into a shard at the same time.
                "insert_quorum_parallel": 1,
                "insert_quorum_timeout": QUORUM_MILLISECONDS_MAX,
            }
            # A sequentially consistent read would omit the blocks whose quorum is pending.
            self._read_settings["select_sequential_consistency"] = 0
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
            return self._probing.accepts_good_rows(columns, EVENTS, at, before, thorough=thorough)

    def now(self) -> int:
        """Return the server's time, in milliseconds since the Unix epoch."""
        ((now,),) = self._rows(NOW)
        return int(now)

    def replicas(self, cluster: str) -> list[ClusterReplica]:
        """Return the replicas of a cluster in the server's configuration."""
        rows = self._rows(REPLICAS, {"cluster": cluster})
        return [ClusterReplica(int(shard), bool(local), server.decode()) for shard, local, server in rows]

    def is_inserting(self, at: Coordinates) -> bool:
        """Whether an insert into the partition is running on this server."""
        ((running,),) = self._rows(RUNNING, {"name": at.name})
        return bool(running)

    def offsets(self, at: Coordinates, first: int, last: int) -> set[int]:
        """Return the offsets from `first` to `last` that either table holds."""
        return {offset for (offset,) in self._rows(in_both_tables(OFFSETS), parameters(at, first, last))}

    def last_stored(self, at: Coordinates, first: int) -> int | None:
        """Return the largest offset from `first` on that either table holds."""
        rows = self._rows(in_both_tables(LAST_OFFSET), parameters(at, first, 0))
        return max((last for last, count in rows if count), default=None)

    def recent_identities(
        self, at: Coordinates, first: int, last: int, moved: Moved | None = None
    ) -> tuple[Sequence[int], Sequence[bytes]]:
        """Return the offsets of events and duplicates from `first` to `last`, ascending, and their identities.

        If users have `moved`, only those of their events.
        """
        values = parameters(at, first, last) | ({} if moved is None else moved._asdict())
        query = IDENTITIES if moved is None else MOVED_IDENTITIES
        with self._translated():
            columns = self._client.execute(query, values, columnar=True, settings=self._read_settings)
        return (columns[OFFSET], columns[IDENTITY]) if columns else ((), ())

    def partition_changes(self, at: Coordinates, first: int, last: int) -> set[tuple[int, bytes]]:
        """Return the offsets and the bytes of the records of added partitions from `first` to `last`."""
        values = parameters(at, first, last) | {"prefix": PREFIX.decode()}
        return {(offset, raw) for offset, raw in self._rows(PARTITION_CHANGES, values)}

    def _rows(self, query: str, values: Mapping[str, object] | None = None) -> list[tuple[Any, ...]]:
        with self._translated():
            return list(self._client.execute(query, values, settings=self._read_settings))

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except ServerException as error:
            is_fence = error.code == THROW_IF and FENCED in str(error)
            text = self._prefix + first_line(error)
            raise (
                FencedError(text) if is_fence else error_of(error.code, text, has_quorum=self._has_quorum)
            ) from error
        except (DriverError, OSError, EOFError) as error:
            # The state of the connection is unknown; the next call reconnects.
            self._client.disconnect()
            raise SinkError(self._prefix + first_line(error)) from error


def parameters(at: Coordinates, first: int, last: int) -> dict[str, object]:
    """Return the parameters of the queries."""
    return {"topic": at.topic.identity, "partition": at.partition, "first": max(first, 0), "last": last}


def first_line(error: Exception) -> str:
    """Return ClickHouse's message without its stack trace."""
    return f"{type(error).__name__}: {str(error).partition('Stack trace')[0].strip()}"
