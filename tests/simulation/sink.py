"""A member's connection to the fake ClickHouse, like etl/clickhouse/sink.py for the real one."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from etl.errors import SinkError
from etl.events.rows import DUPLICATE, PARTITIONS_ADDED
from etl.plan import EVENTS, Block, Coordinates
from tests.simulation.clickhouse import ClickHouse, Query, ViolationError
from tests.simulation.log import partition_of
from tests.simulation.parts import Row
from tests.simulation.world import Process
from tests.support.fakes.sinks import ProbingFake

# How long a request may be under way before the server has it.
DELAY_SECONDS_MAX = 5.0


class SimulatedSink(ProbingFake):
    """Implements etl.restoring.History and etl.delivery.Sink."""

    def __init__(self, process: Process, server: ClickHouse, shards: int, *, is_older: bool = False) -> None:
        """`is_older` is a version that stores every partition in one shard of its own choice, and reads all shards."""
        self._process = process
        self._world = process.world
        self._server = server
        self._shards = range(shards)
        self._chosen = process.world.chance.choice(self._shards) if is_older else None
        # The block whose insert uses the connection.
        self._inserting: Block | None = None

    def insert(self, block: Block) -> None:
        self._require_free(block.name)
        self._inserting = block
        try:
            self._insert(block)
        finally:
            self._inserting = None

    def _require_free(self, what: str) -> None:
        """Raise ViolationError while an insert uses the connection, which does one thing at a time."""
        if self._inserting is not None:
            raise ViolationError(f"{what} while the connection inserts {self._inserting.name}")

    def _insert(self, block: Block) -> None:
        world, server = self._world, self._server
        self._process.cross()
        answered = self._process.ticket()
        query = Query(
            block,
            lambda outcome: world.after(world.between(0, 0.01), lambda: answered(outcome)),
            server.generation,
            block.at.shard if self._chosen is None else self._chosen,
        )
        slow = world.strikes(world.rates.insert / 3)
        world.counts["inserts delayed"] += slow
        server.expected.append(query)
        world.after(world.between(0, DELAY_SECONDS_MAX) if slow else 0.001, lambda: server.receive(query))
        world.note(self._process.name, "inserts", block.name, "SLOWLY" if slow else "")
        if world.strikes(world.rates.insert / 3):
            world.counts["inserts unanswered"] += 1
            # The answer is lost or too late; the server continues with the insert.
            world.after(world.between(0, 1.5), lambda: answered(SinkError("no answer")))
        if outcome := self._process.park():
            raise outcome
        self._process.cross()

    def probe(self, block: Block, *, thorough: bool) -> None:
        del thorough
        self._query()
        self._world.counts["probes"] += 1
        refusal = self._server.refusal(block)
        self._process.cross()
        if refusal:
            raise refusal

    def accepts_good_rows(self, at: Coordinates, before: int, *, thorough: bool) -> bool:
        del at, before, thorough
        self._query()
        return True

    def require_servers(self, at: Coordinates) -> None:
        pass

    def now(self, at: Coordinates) -> int:
        del at
        self._query()
        now = self._server.now()
        self._process.cross()
        return now

    def earliest_now(self, at: Coordinates, first: int) -> int:
        self._query_every_replica(at, first)
        now = self._server.earliest_now()
        self._process.cross()
        return now

    def is_inserting(self, at: Coordinates, first: int) -> bool:
        shards = self._query_every_replica(at, first)
        running = (query for query in self._server.running if query.shard in shards)
        inserting = any(query.block.name.startswith(at.name) for query in running)
        self._process.cross()
        return inserting

    def stored_offsets(self, at: Coordinates, first: int, last: int) -> set[int]:
        shards = self._query_every_replica(at, first)
        rows = self._server.rows_on_any_replica(at.partition, shards)
        found = {offset for offset in rows if first <= offset <= last}
        self._process.cross()
        return found

    def confirmed_offsets(self, at: Coordinates, first: int, last: int) -> set[int]:
        shards = self._query_every_replica(at, first)
        rows = self._server.confirmed(at.partition, shards)
        found = {offset for offset in rows if first <= offset <= last}
        self._process.cross()
        return found

    def last_stored(self, at: Coordinates, first: int) -> int | None:
        shards = self._query_every_replica(at, first)
        rows = self._server.rows_on_any_replica(at.partition, shards)
        last = max((offset for offset in rows if offset >= first), default=None)
        self._process.cross()
        return last

    def recent_identities(self, at: Coordinates, first: int, last: int) -> tuple[Sequence[int], Sequence[bytes]]:
        shards = self._query_every_replica(at, first)
        rows = self._server.rows_on_any_replica(at.partition, shards)
        known = [at for at in range(max(first, 0), last + 1) if at in rows and self.is_in_window(rows[at])]
        return known, [self.identity(rows[at]) for at in known]

    def moved_identities(
        self, at: Coordinates, first: int, last: int, to: int, partitions: int
    ) -> tuple[Sequence[int], Sequence[bytes]]:
        found = zip(*self.recent_identities(at, first, last), strict=True)
        moved = [(offset, each) for offset, each in found if partition_of(each, partitions) == to]
        self._world.counts["events looked up in other partitions"] += len(moved)
        return [offset for offset, _ in moved], [each for _, each in moved]

    def partition_changes(self, at: Coordinates, first: int, last: int) -> Sequence[tuple[int, bytes]]:
        shards = self._query_every_replica(at, first)
        rows = self._server.rows_on_any_replica(at.partition, shards)
        known = [offset for offset in sorted(rows) if first <= offset <= last]
        return [(offset, rows[offset].content) for offset in known if rows[offset].reason == PARTITIONS_ADDED]

    def is_in_window(self, row: Row) -> bool:
        """Whether a row's identity is in the window."""
        return row.table == EVENTS or row.reason == DUPLICATE

    def identity(self, row: Row) -> bytes:
        """Return the identity of a row in the window."""
        return row.identity

    def shards_with(self, at: Coordinates, first: int) -> Collection[int]:
        """Return the shards that may hold rows of a partition from an offset on."""
        if self._chosen is not None or not at.placement.is_on_its_shard(first):
            self._world.counts["queries of all shards"] += 1
            return self._shards
        return (at.shard,)

    def _query_every_replica(self, at: Coordinates, first: int) -> Collection[int]:
        """Send a query to all replicas of the shards that may hold rows; an absent one is an error."""
        self._query()
        shards = self.shards_with(at, first)
        if self._server.quorums.is_replica_away(shards):
            self._world.counts["queries without a replica"] += 1
            raise SinkError("a replica does not answer")
        self._world.counts["queries despite a replica"] += self._server.quorums.is_replica_away(self._shards)
        return shards

    def _query(self) -> None:
        """Send a query; it is answered at the moment at which this returns."""
        self._require_free("a query")
        self._process.cross()
        if frozen := self._server.frozen_for():
            self._process.wait(frozen)
        if self._server.is_down or self._world.strikes(self._world.rates.read):
            self._process.wait(0.05)
            raise SinkError("no answer")
