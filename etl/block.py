"""One insert: which rows, into which table, under which name, until when. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from etl.clickhouse.native import Column
from etl.events.rows import Rejected, Rows
from etl.plan import Plan, Topic

EVENTS, REJECTED = "events", "rejected_events"
# The columns of `rejected_events` in the order in which a block has them.
REJECTED_COLUMNS: dict[str, Callable[[Rejected], Any]] = {
    "kafka_offset": lambda each: each.offset,
    "reason": lambda each: each.reason,
    "error": lambda each: each.error,
    "raw": lambda each: each.raw,
    "kafka_time": lambda each: each.kafka_milliseconds,
    "event_id": lambda each: each.event_id,
    "user_id": lambda each: each.user_id,
}


@dataclass(frozen=True)
class Coordinates:
    """A partition of a topic; `name` begins the names of all inserts into it."""

    topic: Topic
    partition: int

    @property
    def name(self) -> str:
        """Return the beginning of the query ids and deduplication tokens."""
        return f"{self.topic.cluster}:{self.topic.identity}:{self.partition}:"


@dataclass(frozen=True)
class Block:
    """Columns for one table, inserted as a whole or not at all.

    `name` is the query's id and its deduplication token; `deadline` is in milliseconds of ClickHouse's clock.
    """

    at: Coordinates
    table: str
    columns: Sequence[Column]
    name: str
    deadline: int


def events_block(at: Coordinates, plan: Plan, part: int, rows: Rows) -> Block:
    """Return the insert of a batch's events; `part` counts the inserts under one plan."""
    return Block(at, EVENTS, rows.columns, name(at, plan, part), plan.deadline)


def rejected_block(at: Coordinates, plan: Plan, part: int, rejected: Sequence[Rejected]) -> Block:
    """Return the insert of messages that become no events."""
    columns = [[read(each) for each in rejected] for read in REJECTED_COLUMNS.values()]
    return Block(at, REJECTED, columns, name(at, plan, part), plan.deadline)


def name(at: Coordinates, plan: Plan, part: int) -> str:
    """Name an insert so that no other has its name: a plan that is made again has another deadline."""
    return f"{at.name}{plan.first}-{plan.end}:{plan.deadline}:{part}"
