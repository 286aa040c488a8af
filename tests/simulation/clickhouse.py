"""The fake ClickHouse: rows, deduplication tokens, inserts that take time, and a server that is killed or frozen."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import partial

from etl.errors import DataRefusedError, FencedError, QuorumError, QuorumTimeoutError, SinkError
from etl.plan import EVENTS, REJECTED, Block
from tests.simulation.parts import Part, Row, parts
from tests.simulation.quorum import Pending, Quorums
from tests.simulation.world import World

INSERT_SECONDS_MAX = 3.0
# How long an insert waits for its quorum before it fails.
QUORUM_SECONDS_MAX = 1.5
TOKENS_MAX = 6
EPOCH_MILLISECONDS = 1_790_000_000_000
# ClickHouse's error code.
ILLEGAL_DIVISION = 153


class ViolationError(Exception):
    """A message was stored twice, or not at all, or in a wrong form."""


@dataclass(eq=False)
class Query:
    """A running insert. `answer` gets its outcome: None, or an error. `left` are the parts that are not stored yet."""

    block: Block
    answer: Callable[[SinkError | None], None]
    generation: int
    shard: int
    outcome: SinkError | None = None
    left: list[Part] = field(default_factory=list)


class ClickHouse:
    """One server with two tables, or a cluster; `rows` are those on a quorum of replicas, `shard_of` their shards."""

    def __init__(self, world: World, partitions: int, poison: Callable[[int], set[int]]) -> None:
        self.world = world
        self.rows: list[dict[int, Row]] = [{} for _ in range(partitions)]
        self.shard_of: list[dict[int, int]] = [{} for _ in range(partitions)]
        # Inserts that were sent but have not begun, and those that run.
        self.expected: list[Query] = []
        self.running: list[Query] = []
        self.enforces_deadlines = True
        self.quorums = Quorums(world, self._confirm)
        self._poison = poison
        self._tokens: dict[str, deque[tuple[str, int]]] = {
            table: deque(maxlen=TOKENS_MAX) for table in (EVENTS, REJECTED)
        }
        # The clock is a little faster or slower than that of its clients.
        self._clock_rate = world.between(995, 1005)
        # On a cluster each query may be answered by another server, with its own clock.
        self.skew_seconds = world.chance.choice((0.0, 0.0, 1.5))
        self._down_until = 0.0
        self._frozen_until = 0.0
        # Incremented when the server is killed: connections do not survive that.
        self.generation = 0

    def now(self) -> int:
        """Return the server's time in milliseconds."""
        ahead = self.world.between(0, self.skew_seconds) if self.skew_seconds else 0
        return EPOCH_MILLISECONDS + int((self.world.now + ahead) * self._clock_rate)

    def earliest_now(self) -> int:
        """Return the earliest time of any server."""
        return EPOCH_MILLISECONDS + int(self.world.now * self._clock_rate)

    @property
    def is_down(self) -> bool:
        """Whether the server accepts no connections."""
        return self.world.now < self._down_until

    def rows_on_any_replica(self, partition: int, shards: Collection[int]) -> dict[int, Row]:
        """Return the rows of a partition on any replica of some shards, confirmed by a quorum or not."""
        return self.confirmed(partition, shards) | self.quorums.rows_of(partition, shards)

    def confirmed(self, partition: int, shards: Collection[int]) -> dict[int, Row]:
        """Return the rows of a partition on a quorum of the replicas of some shards."""
        shard_of = self.shard_of[partition]
        found = {offset: row for offset, row in self.rows[partition].items() if shard_of[offset] in shards}
        return found if self.quorums.is_needed else found | self.quorums.rows_of(partition, shards)

    def frozen_for(self) -> float:
        """Return how long the server stays frozen."""
        return max(0.0, self._frozen_until - self.world.now)

    def receive(self, query: Query) -> None:
        """Begin an insert: it is listed as running, and its deadline is compared with the clock."""
        if self.frozen_for():
            self.world.after(self.frozen_for(), lambda: self.receive(query))
            return
        self.expected.remove(query)
        if self.is_down or query.generation != self.generation:
            query.answer(SinkError("the server is gone"))
        else:
            self.running.append(query)
            self.world.counts["inserts"] += 1
            query.outcome = self._outcome(query)
            query.left = parts(query.block)
            self.world.note("clickhouse", "begins", query.block.table, query.block.name, query.outcome or "")
            seconds = self._duration()
            self.world.after(seconds, lambda: self._finish(query))
            if self.world.strikes(self.world.rates.insert / 4):
                self.world.after(self.world.between(0, seconds), lambda: self.kill(self.world.between(0.1, 1)))

    def _duration(self) -> float:
        if self.world.strikes(self.world.rates.insert / 2):
            return self.world.between(0.1, INSERT_SECONDS_MAX)
        return self.world.between(0.001, 0.05)

    def _outcome(self, query: Query) -> SinkError | None:
        block = query.block
        if self.enforces_deadlines and self.now() > block.deadline:
            self.world.counts["inserts fenced"] += 1
            return FencedError("FENCED")
        if block.table == EVENTS and (refusal := self.refusal(block)):
            self.world.counts["inserts refused"] += 1
            return refusal
        if self.world.strikes(self.world.rates.insert / 20):
            return SinkError("memory limit exceeded, nothing is stored")
        return None

    def refusal(self, block: Block) -> DataRefusedError | None:
        """Return the error of a block that contains a refused event."""
        if self._poison(block.at.partition).isdisjoint(block.columns[-1]):
            return None
        return DataRefusedError(ILLEGAL_DIVISION, "a value does not convert")

    def _finish(self, query: Query) -> None:
        if query not in self.running:
            return
        if self.frozen_for():
            self.world.after(self.frozen_for(), lambda: self._finish(query))
            return
        if query.outcome is None:
            self._store_parts(query)
        else:
            self._end(query, query.outcome)

    def _store_parts(self, query: Query) -> None:
        """Store one part after another; on a cluster each part waits until a quorum has confirmed the previous one."""
        while query.left:
            is_late = self.quorums.is_late()
            pending = self._store(query, query.left.pop(0), logs_token=True, is_late=is_late)
            if pending is not None:
                wait = self.world.between(0, QUORUM_SECONDS_MAX)
                self.world.after(wait, partial(self._check_quorum, query, pending))
                return
        self._end(query, None)

    def _check_quorum(self, query: Query, pending: Pending) -> None:
        if query not in self.running:
            return
        if pending.is_confirmed:
            self._store_parts(query)
        else:
            kind = self.world.chance.choice((QuorumError, QuorumTimeoutError))
            self._end(query, kind("the quorum was not reached in time"))

    def _end(self, query: Query, outcome: SinkError | None) -> None:
        self.running.remove(query)
        self.world.note("clickhouse", "ends", query.block.name, outcome or "stored")
        query.answer(outcome)

    def freeze(self, seconds: float) -> None:
        """Do nothing for a while; the clock advances."""
        self.world.counts["server freezes"] += 1
        self.world.note("clickhouse", f"FROZEN for {seconds:.1f} s")
        self._frozen_until = self.world.now + seconds

    def kill(self, seconds_down: float) -> None:
        """Kill the server at any point of the running inserts: between parts, or between a part and its token."""
        self.world.counts["server kills"] += 1
        self.world.note("clickhouse", "KILLED")
        self.generation += 1
        self._down_until = self.world.now + seconds_down
        self._frozen_until = 0.0
        running, self.running = self.running, []
        for query in running:
            if query.outcome is None:
                self._interrupt(query)
            query.answer(SinkError("the connection broke"))

    def _interrupt(self, query: Query) -> None:
        chance, left = self.world.chance, query.left
        whole = chance.randint(0, len(left))
        self.world.counts["blocks cut between months"] += 0 < whole < len(left)
        for number, part in enumerate(left[:whole], 1):
            # Another replica may or may not have fetched the last part.
            is_late = number == whole and self.quorums.is_late()
            self._store(query, part, logs_token=True, is_late=is_late, is_killed=True)
        if whole < len(left) and not self.quorums.is_cluster:
            # Some versions log the token before the part, others after it.
            logs_token, stores_rows = chance.choice(((False, False), (True, False), (False, True)))
            self.world.counts["tokens without rows"] += logs_token
            self.world.counts["rows without tokens"] += stores_rows
            self._store(query, left[whole], logs_token=logs_token, stores_rows=stores_rows)

    def _store(
        self,
        query: Query,
        part: Part,
        *,
        logs_token: bool,
        stores_rows: bool = True,
        is_late: bool = False,
        is_killed: bool = False,
    ) -> Pending | None:
        """Store one part, the rows of one month, unless its token is known. Return the part if it is pending."""
        block = query.block
        token, known = (block.name, part[0][2]), self._tokens[block.table]
        if token in known:
            self.world.counts["parts deduplicated"] += 1
            return None
        if logs_token:
            known.append(token)
        rows = {offset: row for offset, row, _ in part} if stores_rows else {}
        pending = Pending(query.shard, block.table, block.at.partition, rows)
        if is_late:
            self.quorums.begin(pending, is_holder_killed=is_killed)
            return pending if self.quorums.is_needed else None
        self._confirm(pending)
        return None

    def _confirm(self, part: Pending) -> None:
        """Make the rows of a part visible to all reads."""
        rows = self.rows[part.partition]
        for offset, row in part.rows.items():
            if offset in rows:
                self.world.counts["doubled"] += 1
                raise ViolationError(f"partition {part.partition}: offset {offset} stored twice, now in {part.table}")
            rows[offset] = row
            self.shard_of[part.partition][offset] = part.shard
