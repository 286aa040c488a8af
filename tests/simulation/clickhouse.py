"""The fake ClickHouse: what is stored, a window of tokens, inserts that take their time, a server that is killed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from etl.block import EVENTS, REJECTED, Block
from etl.errors import DataRefusedError, SinkError
from tests.simulation.world import World

INSERT_SECONDS_MAX = 3.0
TOKENS_MAX = 6
EPOCH_MILLISECONDS = 1_790_000_000_000
# ClickHouse's numbers for the errors.
CANNOT_PARSE_TEXT = 6


class ViolationError(Exception):
    """The oracle's word: something was stored twice, or not, or not as it should be."""


@dataclass(frozen=True)
class Row:
    """What is stored at an offset: an event's identity, or why a message became none, its bytes and the ids in them."""

    table: str
    content: bytes
    reason: str = ""
    identity: bytes = b""


@dataclass(eq=False)
class Query:
    """An insert under way, and who hears its outcome: None, or an error."""

    block: Block
    answer: Callable[[SinkError | None], None]
    generation: int
    verdict: SinkError | None = None


class ClickHouse:
    """One server with its two tables."""

    def __init__(self, world: World, partitions: int, poison: Callable[[int], set[bytes]]) -> None:
        self.world = world
        self.rows: list[dict[int, Row]] = [{} for _ in range(partitions)]
        # Inserts that were sent, and those of them that have begun.
        self.expected: list[Query] = []
        self.running: list[Query] = []
        self.heeds_deadlines = True
        self._poison = poison
        self._tokens: dict[str, deque[tuple[str, int]]] = {
            table: deque(maxlen=TOKENS_MAX) for table in (EVENTS, REJECTED)
        }
        # The clock runs a little faster or slower than that of its clients.
        self._pace = world.between(995, 1005)
        # On a cluster every question may be another server's to answer, with a clock of its own.
        self.skew_seconds = world.chance.choice((0.0, 0.0, 1.5))
        self._down_until = 0.0
        self._frozen_until = 0.0
        # Connections do not outlive the server.
        self.generation = 0

    def now(self) -> int:
        """Return its own time in milliseconds."""
        ahead = self.world.between(0, self.skew_seconds) if self.skew_seconds else 0
        return EPOCH_MILLISECONDS + int((self.world.now + ahead) * self._pace)

    @property
    def is_down(self) -> bool:
        """Whether it accepts no connections."""
        return self.world.now < self._down_until

    def frozen_for(self) -> float:
        """Return for how long it will do nothing."""
        return max(0.0, self._frozen_until - self.world.now)

    def receive(self, query: Query) -> None:
        """Begin an insert: it is listed, and its deadline is compared with the clock."""
        if self.frozen_for():
            self.world.after(self.frozen_for(), lambda: self.receive(query))
            return
        self.expected.remove(query)
        if self.is_down or query.generation != self.generation:
            query.answer(SinkError("the server is gone"))
        else:
            self.running.append(query)
            self.world.counts["inserts"] += 1
            query.verdict = self._verdict(query.block)
            self.world.note("clickhouse", "begins", query.block.table, query.block.name, query.verdict or "")
            seconds = self._duration()
            self.world.after(seconds, lambda: self._finish(query))
            if self.world.strikes(self.world.rates.insert / 4):
                self.world.after(self.world.between(0, seconds), lambda: self.kill(self.world.between(0.1, 1)))

    def _duration(self) -> float:
        if self.world.strikes(self.world.rates.insert / 2):
            return self.world.between(0.1, INSERT_SECONDS_MAX)
        return self.world.between(0.001, 0.05)

    def _verdict(self, block: Block) -> SinkError | None:
        if self.heeds_deadlines and self.now() > block.deadline:
            self.world.counts["inserts fenced"] += 1
            return SinkError("FENCED")
        if block.table == EVENTS and not self._poison(block.at.partition).isdisjoint(block.columns[0]):
            self.world.counts["inserts refused"] += 1
            return DataRefusedError(CANNOT_PARSE_TEXT, "a value does not convert")
        if self.world.strikes(self.world.rates.insert / 20):
            return SinkError("memory limit exceeded, nothing is stored")
        return None

    def _finish(self, query: Query) -> None:
        if query not in self.running:
            return
        if self.frozen_for():
            self.world.after(self.frozen_for(), lambda: self._finish(query))
            return
        self.running.remove(query)
        if query.verdict is None:
            for part in parts(query.block):
                self._store(query.block, part, logs_token=True, stores_rows=True)
        self.world.note("clickhouse", "ends", query.block.name, query.verdict or "stored")
        query.answer(query.verdict)

    def freeze(self, seconds: float) -> None:
        """Do nothing for a while; the clock goes on."""
        self.world.counts["server freezes"] += 1
        self.world.note("clickhouse", f"FROZEN for {seconds:.1f} s")
        self._frozen_until = self.world.now + seconds

    def kill(self, seconds_down: float) -> None:
        """End it at any moment of the inserts that run: between parts, between a part and its token."""
        self.world.counts["server kills"] += 1
        self.world.note("clickhouse", "KILLED")
        self.generation += 1
        self._down_until = self.world.now + seconds_down
        self._frozen_until = 0.0
        running, self.running = self.running, []
        for query in running:
            if query.verdict is None:
                self._interrupt(query.block)
            query.answer(SinkError("the connection broke"))

    def _interrupt(self, block: Block) -> None:
        chance, all_parts = self.world.chance, parts(block)
        whole = chance.randint(0, len(all_parts))
        for part in all_parts[:whole]:
            self._store(block, part, logs_token=True, stores_rows=True)
        self.world.counts["blocks cut between months"] += 0 < whole < len(all_parts)
        if whole < len(all_parts):
            # Some versions write the token's log before the part, some after.
            logs_token, stores_rows = chance.choice(((False, False), (True, False), (False, True)))
            self.world.counts["tokens without rows"] += logs_token
            self.world.counts["rows without tokens"] += stores_rows
            self._store(block, all_parts[whole], logs_token=logs_token, stores_rows=stores_rows)

    def _store(self, block: Block, part: list[tuple[int, Row, int]], *, logs_token: bool, stores_rows: bool) -> None:
        """Store one part: rows of one month; nothing of it when its token is known."""
        token, known = (block.name, part[0][2]), self._tokens[block.table]
        if token in known:
            self.world.counts["parts deduplicated"] += 1
            return
        if logs_token:
            known.append(token)
        rows = self.rows[block.at.partition]
        for offset, row, _ in part if stores_rows else ():
            if offset in rows:
                self.world.counts["doubled"] += 1
                raise ViolationError(
                    f"partition {block.at.partition}: offset {offset} stored twice, now by {block.name}"
                )
            rows[offset] = row


def parts(block: Block) -> list[list[tuple[int, Row, int]]]:
    """Cut a block into what becomes parts: its rows by month, each with its offset and its time."""
    columns: Any = block.columns
    if block.table == EVENTS:
        identities, times, offsets = columns
        rows = [
            (offset, Row(EVENTS, identity, identity=identity), time)
            for identity, time, offset in zip(identities, times, offsets, strict=True)
        ]
    else:
        offsets, reasons, _, raws, times, event_ids, users = columns
        rows = [
            (offset, Row(REJECTED, raw, reason, event_id + user), time)
            for offset, reason, raw, time, event_id, user in zip(
                offsets, reasons, raws, times, event_ids, users, strict=True
            )
        ]
    rows.sort(key=lambda row: row[2])
    return [list(group) for _, group in groupby(rows, key=lambda row: row[2])]
