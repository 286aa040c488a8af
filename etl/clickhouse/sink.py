"""Inserts the blocks of each partition into its shard, and reads which rows the shards hold.

The shard of a partition's rows is `partition modulo shards`, whichever process owns the partition.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence

from common.clickhouse_settings import read_password_at_connect, server_urls, without_password_file
from etl.clickhouse.client import InsertClient
from etl.clickhouse.server import ClickHouseServer, Moved
from etl.clickhouse.shard import Shard
from etl.clickhouse.topology import problem
from etl.errors import SinkError
from etl.plan import Block, Coordinates
from etl.servers import host_of
from etl.settings import EtlSettings


@contextlib.contextmanager
def connected(
    settings: EtlSettings, client_type: type[InsertClient] = InsertClient, beat: Callable[[], None] = lambda: None
) -> Iterator[ClickHouseSink]:
    """Create a client for each server; it connects when first used, and again after each failure.

    `beat` is called at each packet.
    """
    # The driver logs a warning for each failed connection; the loader logs an outage once.
    logging.getLogger("clickhouse_driver").setLevel(logging.ERROR)
    with contextlib.ExitStack() as stack:

        def server(url: str, quorum: int) -> ClickHouseServer:
            for_client, password_file = without_password_file(url)
            client = client_type.from_url(for_client)
            read_password_at_connect(client.connection, password_file)
            stack.callback(client.disconnect)
            client.beat = beat
            client.connection.connect_timeout = settings.etl_connect_seconds_max
            client.connection.send_receive_timeout = settings.etl_answer_seconds_max
            # Otherwise the server ignores a misspelled setting.
            client.connection.settings_is_important = True
            name = host_of(url) if settings.clickhouse_cluster else ""
            return ClickHouseServer(client, settings.etl_insert_seconds_max, quorum, name=name)

        shards = []
        for urls in map(server_urls, settings.shard_urls):
            quorum = settings.etl_insert_quorum or len(urls)
            shards.append(Shard([server(url, quorum) for url in urls], quorum))
        yield ClickHouseSink(shards, settings.clickhouse_cluster)


class ClickHouseSink:
    """The tables `events` and `rejected_events` of all shards. For one thread."""

    def __init__(self, shards: Sequence[Shard], cluster: str = "") -> None:
        self._shards = shards
        self._cluster = cluster

    def require_servers(self, at: Coordinates) -> None:
        """Raise SinkError unless the settings name every server that may hold the partition's rows, and no other."""
        if not self._cluster:
            return
        for index, shard in enumerate(self._shards):
            if index == at.shard or at.placement.is_unknown:
                answers = [each.replicas(self._cluster) for each in shard.replicas]
                if wrong := problem(self._cluster, index, len(self._shards), answers):
                    raise SinkError(wrong)

    def insert(self, block: Block) -> None:
        """Store a block; DataRefusedError if a value is at fault, else SinkError; after either it may be stored."""
        self._shards[block.at.shard].insert(block)

    def begin_probes(self, at: Coordinates) -> None:
        """Let the next probe use the table as it is now."""
        with self._shards[at.shard].replica() as replica:
            replica.begin_probes()

    def end_probes(self, at: Coordinates) -> None:
        """Drop the probe table with its connection."""
        with self._shards[at.shard].replica() as replica:
            replica.end_probes()

    def probe(self, block: Block, *, thorough: bool) -> None:
        """Convert a block of events as its insert would, storing nothing; raises what `insert` raises.

        A thorough probe also computes the indices, projections and TTL of the parts.
        """
        with self._shards[block.at.shard].replica() as replica:
            replica.probe(block, thorough=thorough)

    def accepts_good_rows(self, at: Coordinates, before: int, *, thorough: bool) -> bool:
        """Whether the table would accept any good row: one stored before an offset, or a synthetic one."""
        with self._shards[at.shard].replica() as replica:
            return replica.accepts_good_rows(at, before, thorough=thorough)

    def now(self, at: Coordinates) -> int:
        """Return the time of a server of the partition's shard, in milliseconds since the Unix epoch."""
        return self._shards[at.shard].now()

    def earliest_now(self, at: Coordinates, first: int) -> int:
        """Return the earliest time of the servers that an insert of offsets from `first` on may reach."""
        return min(shard.earliest_now() for shard in self._holding(at, first))

    def is_inserting(self, at: Coordinates, first: int) -> bool:
        """Whether an insert of offsets from `first` on of the partition is running, on any server."""
        return any(shard.is_inserting(at) for shard in self._holding(at, first))

    def stored_offsets(self, at: Coordinates, first: int, last: int) -> set[int]:
        """Return the offsets from `first` to `last` that any server holds."""
        return set().union(*(shard.stored_offsets(at, first, last) for shard in self._holding(at, first)))

    def confirmed_offsets(self, at: Coordinates, first: int, last: int) -> set[int]:
        """Return the offsets from `first` to `last` whose rows a quorum of a shard holds; other rows may vanish."""
        return set().union(*(shard.confirmed_offsets(at, first, last) for shard in self._holding(at, first)))

    def last_stored(self, at: Coordinates, first: int) -> int | None:
        """Return the largest offset from `first` on that any server holds."""
        found = [shard.last_stored(at, first) for shard in self._holding(at, first)]
        return max((last for last in found if last is not None), default=None)

    def partition_changes(self, at: Coordinates, first: int, last: int) -> Sequence[tuple[int, bytes]]:
        """Return the offsets and the bytes of the records of added partitions from `first` to `last`, ascending."""
        return sorted(set().union(*(each.partition_changes(at, first, last) for each in self._holding(at, first))))

    def moved_identities(
        self, at: Coordinates, first: int, last: int, to: int, partitions: int
    ) -> tuple[Sequence[int], Sequence[bytes]]:
        """Return the same as `recent_identities`, of the users in partition `to` of so many partitions."""
        return self._identities(at, first, last, Moved(to, partitions))

    def recent_identities(self, at: Coordinates, first: int, last: int) -> tuple[Sequence[int], Sequence[bytes]]:
        """Return the offsets of events and duplicates from `first` to `last`, ascending, and their identities."""
        return self._identities(at, first, last, None)

    def _identities(
        self, at: Coordinates, first: int, last: int, moved: Moved | None
    ) -> tuple[Sequence[int], Sequence[bytes]]:
        shards = self._holding(at, first)
        copies = [copy for shard in shards for copy in shard.recent_identities(at, first, last, moved)]
        if len(copies) == 1:
            return copies[0]
        merged = {offset: identity for each in copies for offset, identity in zip(*each, strict=True)}
        offsets = sorted(merged)
        return offsets, [merged[offset] for offset in offsets]

    def _holding(self, at: Coordinates, first: int) -> Sequence[Shard]:
        """Return the shards that may hold rows of the partition from an offset on."""
        return [self._shards[at.shard]] if at.placement.is_on_its_shard(first) else self._shards
