"""A shard: servers that replicate the same rows. One of them receives the inserts, and all of them answer what is held.

A block may be on one replica only, because its quorum is pending, or because inserts need none. A row is therefore
missing only if every replica answers that it does not hold it, and stored for good once a quorum of them holds it.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence

from etl.clickhouse.server import ClickHouseServer, Moved
from etl.errors import QuorumError, SinkError
from etl.plan import Block, Coordinates


class Shard:
    """The replicas of a shard; `quorum` of them must hold a row. Each call raises SinkError if one does not answer."""

    def __init__(self, replicas: Sequence[ClickHouseServer], quorum: int) -> None:
        self.replicas = replicas
        self._quorum = quorum
        self._chosen = 0

    @contextlib.contextmanager
    def replica(self) -> Iterator[ClickHouseServer]:
        """Yield the replica that receives the inserts; after an error of a server it is the next one."""
        try:
            yield self.replicas[self._chosen]
        except SinkError as error:
            if isinstance(error, QuorumError) or type(error) is SinkError:
                self._chosen = (self._chosen + 1) % len(self.replicas)
            raise

    def insert(self, block: Block) -> None:
        """Store a block; raises what ClickHouseServer.insert raises."""
        with self.replica() as replica:
            replica.insert(block)

    def now(self) -> int:
        """Return the time of a replica in milliseconds."""
        with self.replica() as replica:
            return replica.now()

    def earliest_now(self) -> int:
        """Return the earliest time of any replica, in milliseconds."""
        return min(each.now() for each in self.replicas)

    def is_inserting(self, at: Coordinates) -> bool:
        """Whether an insert into the partition is running on any replica."""
        return any(each.is_inserting(at) for each in self.replicas)

    def stored_offsets(self, at: Coordinates, first: int, last: int) -> set[int]:
        """Return the offsets that any replica holds."""
        return set().union(*(each.offsets(at, first, last) for each in self.replicas))

    def confirmed_offsets(self, at: Coordinates, first: int, last: int) -> set[int]:
        """Return the offsets that a quorum of the replicas holds."""
        copies = Counter(offset for each in self.replicas for offset in each.offsets(at, first, last))
        return {offset for offset, count in copies.items() if count >= self._quorum}

    def last_stored(self, at: Coordinates, first: int) -> int | None:
        """Return the largest offset from `first` on that any replica holds."""
        found = [each.last_stored(at, first) for each in self.replicas]
        return max((last for last in found if last is not None), default=None)

    def recent_identities(
        self, at: Coordinates, first: int, last: int, moved: Moved | None
    ) -> Iterator[tuple[Sequence[int], Sequence[bytes]]]:
        """Yield, for each replica, the offsets of events and duplicates, ascending, and their identities."""
        for each in self.replicas:
            yield each.recent_identities(at, first, last, moved)

    def partition_changes(self, at: Coordinates, first: int, last: int) -> set[tuple[int, bytes]]:
        """Return the offsets and the bytes of the records of added partitions."""
        return set().union(*(each.partition_changes(at, first, last) for each in self.replicas))
