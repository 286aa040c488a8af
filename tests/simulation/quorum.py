"""The cluster of the fake ClickHouse: parts on one replica, which a quorum confirms later or never.

Observed on real replicas: reads of that replica return such a part, and sequentially consistent reads do not. It
becomes visible when another replica fetches it. If its replica stays away, the other replica gives up the quorum, and
the first one drops the part when it returns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.simulation.parts import Row
from tests.simulation.world import World

# How often an insert of a cluster waits for its quorum, relative to the rate of failing inserts.
LATE_RATIO = 0.5
# How often its only replica goes away meanwhile, and how often the part is dropped then.
AWAY_RATIO = 0.5
VANISHING_RATIO = 0.6
CLUSTER_RATIO = 0.4
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
        self.pending: list[Pending] = []
        self._world = world
        self._confirm = confirm

    def is_waiting(self, shard: int, table: str) -> bool:
        """Whether a part that waits for its quorum blocks inserts of a shard into a table."""
        return any((each.shard, each.table) == (shard, table) for each in self.pending)

    def is_late(self) -> bool:
        """Whether the other replica does not fetch the next part at once."""
        return self.is_cluster and self._world.strikes(self._world.rates.insert * LATE_RATIO)

    def is_replica_away(self) -> bool:
        """Whether a query to every replica fails."""
        return any(each.is_away for each in self.pending)

    def rows_of(self, partition: int) -> dict[int, Row]:
        """Return the unconfirmed rows on replicas that answer."""
        found: dict[int, Row] = {}
        for each in self.pending:
            if each.partition == partition and not each.is_away:
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
        is_confirmed = world.chance.random() >= VANISHING_RATIO
        # For a moment the replica answers, and the part is neither confirmed nor dropped.
        world.after(world.between(0, 2), lambda: self._end(part, is_confirmed=is_confirmed))

    def _end(self, part: Pending, *, is_confirmed: bool) -> None:
        self.pending.remove(part)
        part.is_confirmed = is_confirmed
        self._world.counts["quorums reached late" if is_confirmed else "parts vanished"] += 1
        self._world.note("clickhouse", "confirms" if is_confirmed else "DROPS", part.table, sorted(part.rows))
        if is_confirmed:
            self._confirm(part)
