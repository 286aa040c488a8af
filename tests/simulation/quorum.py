"""The cluster of the fake ClickHouse: parts on one replica, which others fetch later or never.

Observed on real replicas with a parallel quorum: only reads of that replica return such a part, and other inserts go
on. It is confirmed when another replica fetches it. If its replica stays away, the other replica gives up the quorum,
and the first one drops the part when it returns. Without a quorum such a part is acknowledged at once, and stays.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from tests.simulation.parts import Row
from tests.simulation.world import World

# How often an insert of a cluster waits for its quorum, relative to the rate of failing inserts.
LATE_RATIO = 0.5
# How often its only replica goes away meanwhile, and how often the part is dropped then.
AWAY_RATIO = 0.5
VANISHING_RATIO = 0.6
CLUSTER_RATIO = 0.4
# How often inserts of a cluster need no quorum, and the largest number of shards.
NO_QUORUM_RATIO = 0.2
SHARDS_MAX = 3
# How long another replica takes to fetch a part, and how long a replica is away.
FETCH_SECONDS_MAX = 8.0
AWAY_SECONDS_MAX = 6.0


@dataclass(eq=False)
class Pending:
    """A part on one replica: its rows by offset, and whether that replica answers."""

    shard: int
    table: str
    partition: int
    rows: dict[int, Row]
    is_away: bool = False
    is_confirmed: bool = False


class Quorums:
    """The parts of all shards that wait for their quorum; `confirm` makes the rows of a part visible."""

    def __init__(self, world: World, confirm: Callable[[Pending], None]) -> None:
        self.is_cluster = world.chance.random() < CLUSTER_RATIO
        self.is_needed = world.chance.random() >= NO_QUORUM_RATIO
        # After each change of their number; rows stay where they are.
        self.shards = sorted(world.chance.randint(1, SHARDS_MAX) for _ in range(3)) if self.is_cluster else [1]
        self.pending: list[Pending] = []
        self._world = world
        self._confirm = confirm

    def is_late(self) -> bool:
        """Whether the other replica does not fetch the next part at once."""
        return self.is_cluster and self._world.strikes(self._world.rates.insert * LATE_RATIO)

    def is_replica_away(self, shards: Collection[int]) -> bool:
        """Whether a query to every replica of some shards fails."""
        return any(each.is_away and each.shard in shards for each in self.pending)

    def rows_of(self, partition: int, shards: Collection[int]) -> dict[int, Row]:
        """Return the rows on one replica that answers, of some shards."""
        found: dict[int, Row] = {}
        for each in self.pending:
            if each.partition == partition and each.shard in shards and not each.is_away:
                found |= each.rows
        return found

    def begin(self, part: Pending, *, is_holder_killed: bool = False) -> None:
        """Store a part on one replica; it is confirmed or dropped later."""
        world = self._world
        self.pending.append(part)
        world.counts["quorums late"] += 1
        world.note("clickhouse", "waits for a quorum", part.table, sorted(part.rows))
        if is_holder_killed:
            self._leave(part)
        elif world.chance.random() < AWAY_RATIO:
            world.after(world.between(0, FETCH_SECONDS_MAX), lambda: self._leave(part))
        else:
            world.after(world.between(0.05, FETCH_SECONDS_MAX), lambda: self._end(part, is_confirmed=True))

    def _leave(self, part: Pending) -> None:
        world = self._world
        world.counts["replicas away"] += 1
        part.is_away = True
        world.note("clickhouse", "loses the replica of", part.table, sorted(part.rows))
        world.after(world.between(0.5, AWAY_SECONDS_MAX), lambda: self._return(part))

    def _return(self, part: Pending) -> None:
        world = self._world
        part.is_away = False
        is_confirmed = not self.is_needed or world.chance.random() >= VANISHING_RATIO
        # For a moment the replica answers, and the part is neither confirmed nor dropped.
        world.after(world.between(0, 2), lambda: self._end(part, is_confirmed=is_confirmed))

    def _end(self, part: Pending, *, is_confirmed: bool) -> None:
        self.pending.remove(part)
        part.is_confirmed = is_confirmed
        self._world.counts["quorums reached late" if is_confirmed else "parts vanished"] += 1
        self._world.note("clickhouse", "confirms" if is_confirmed else "DROPS", part.table, sorted(part.rows))
        if is_confirmed:
            self._confirm(part)
