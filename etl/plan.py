"""What the ETL is about to insert: the plan of a batch, its blocks, and their deadline. Pure.

A plan is written into the metadata of Kafka's offset commit. A commit of offset `a` with a plan means that everything
before `a` is stored, and that [a, end] may be. A later owner of the partition reads from it which rows may be stored,
and until when a former owner's insert may begin.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from etl.errors import LogChangedError
from etl.events.rows import Column, Rejected, Rows
from etl.placement import ONE_SHARD, Placement

EVENTS, REJECTED = "events", "rejected_events"
VERSION = 1
# Kafka's limit is offset.metadata.max.bytes, 4,096 by default.
METADATA_CHARACTERS_MAX = 4_095
# Of why a partition is halted.
HALTED_CHARACTERS_MAX = 500
INTEGERS_END = 2**63
MILLISECONDS = 1_000
# The columns of `rejected_events` in the order of a block.
REJECTED_COLUMNS: dict[str, Callable[[Rejected], object]] = {
    "kafka_offset": lambda each: each.offset,
    "reason": lambda each: each.reason,
    "error": lambda each: each.error,
    "raw": lambda each: each.raw,
    "kafka_time": lambda each: each.kafka_milliseconds,
    "event_id": lambda each: each.event_id,
    "user_id": lambda each: each.user_id,
}


@dataclass(frozen=True)
class Topic:
    """A topic by name and by its id, which a recreated topic of the same name does not share; `cluster` is Kafka's."""

    name: str
    identity: str
    cluster: str


@dataclass(frozen=True)
class Coordinates:
    """A partition of a topic, and where its rows are; `name` is the prefix of the names of all inserts into it."""

    topic: Topic
    partition: int
    placement: Placement = ONE_SHARD

    @property
    def shard(self) -> int:
        """Return the index of the shard that gets the partition's rows: the rule of a Distributed table."""
        return self.partition % self.placement.shards

    @property
    def name(self) -> str:
        """Return the prefix of the query ids and deduplication tokens."""
        return f"{self.topic.cluster}:{self.topic.identity}:{self.partition}:"


@dataclass(frozen=True)
class Plan:
    """The insert of the offsets from `first` to `end`, both included.

    `rows` is the number of messages, `digest` a checksum of their contents. `deadline` is in milliseconds of
    ClickHouse's clock: ClickHouse refuses an insert that begins later.
    """

    topic: str
    first: int
    end: int
    rows: int
    digest: str
    deadline: int
    placement: Placement = ONE_SHARD

    def until(self, deadline: int) -> Plan:
        """Return the same plan with another deadline."""
        return replace(self, deadline=deadline)

    def metadata(self) -> str:
        """Return the metadata that is committed with the offset `first`."""
        text = {"v": VERSION, "topic": self.topic, "end": self.end, "rows": self.rows}
        text |= {"hash": self.digest, "deadline": self.deadline}
        return json.dumps(text | self.placement.metadata(), separators=(",", ":"))


def completed_metadata(topic: str, placement: Placement) -> str:
    """Return the metadata of a commit before whose offset everything is stored, with nothing planned after it."""
    return json.dumps({"v": VERSION, "topic": topic} | placement.metadata(), separators=(",", ":"))


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
    # That of the span of the insert, which ClickHouse continues; empty if it is not traced.
    traceparent: str = ""


def events_block(at: Coordinates, plan: Plan, part: int, rows: Rows) -> Block:
    """Return the insert of a batch's events; `part` counts the inserts under one plan."""
    return Block(at, EVENTS, rows.columns, insert_name(at, plan, part), plan.deadline)


def rejected_block(at: Coordinates, plan: Plan, part: int, rejected: Sequence[Rejected]) -> Block:
    """Return the insert of messages that did not become events."""
    columns = [[read(each) for each in rejected] for read in REJECTED_COLUMNS.values()]
    return Block(at, REJECTED, columns, insert_name(at, plan, part), plan.deadline)


def insert_name(at: Coordinates, plan: Plan, part: int) -> str:
    """Return the unique name of an insert: a plan that is renewed has another deadline."""
    return f"{at.name}{plan.first}-{plan.end}:{plan.deadline}:{part}"


class ServerClock:
    """Estimates ClickHouse's clock to make deadlines `fence_seconds` ahead. No row depends on it.

    It advances with `monotonic`, so that a step of this machine's clock does not move deadlines. A wrong estimate costs
    retries or waiting, never a row.
    """

    def __init__(self, fence_seconds: float, monotonic: Callable[[], float]) -> None:
        self._fence = round(fence_seconds * MILLISECONDS)
        self._monotonic = monotonic
        self._ahead = 0

    def sync(self, server_milliseconds: int) -> None:
        """Set the clock to the time that ClickHouse has just returned."""
        self._ahead = server_milliseconds - self._local()

    def deadline(self) -> int:
        """Return until when an insert that is planned now may begin, in milliseconds of ClickHouse's clock."""
        return self._local() + self._ahead + self._fence

    def is_near(self, deadline: int) -> bool:
        """Whether more than half of the time until a deadline has passed."""
        return self.deadline() - deadline > self._fence // 2

    def _local(self) -> int:
        return int(self._monotonic() * MILLISECONDS)


@dataclass(frozen=True)
class Position:
    """What Kafka holds for a partition: the next offset, None if nothing was committed, and the plan, if there is one.

    `is_from_etl` means that the ETL wrote the commit, so that no insert is planned other than `plan`. Another tool's
    commit, or a missing one, may have replaced a commit with a plan. `placement` is None if the commit records none.
    `halted` is why the partition is halted, None if the commit does not record that it is.
    """

    offset: int | None = None
    plan: Plan | None = None
    is_from_etl: bool = False
    placement: Placement | None = None
    halted: str | None = None


def read_position(topic: str, offset: int | None, metadata: str) -> Position:
    """Read a commit; LogChangedError if this version does not write such metadata.

    A commit for an earlier topic of the same name counts as none. Empty metadata is what other tools commit.
    """
    if offset is None or not metadata:
        return Position(offset)
    try:
        found = json.loads(metadata)
        version, of_topic = read_integer(found, "v"), read_text(found, "topic")
        plan = read_plan(topic, offset, found) if found.get("end") is not None else None
        placement = read_placement(found)
        halted = read_text(found, "halted") if found.get("halted") is not None else None
    # Another tool may have nested the JSON deeper than the parser goes.
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise unreadable(offset, metadata) from error
    if version != VERSION:
        raise unreadable(offset, metadata)
    if of_topic != topic:
        return Position()
    return Position(offset, plan, is_from_etl=True, placement=placement, halted=halted)


def read_plan(topic: str, offset: int, found: dict[str, object]) -> Plan:
    """Read a plan; ValueError, KeyError or TypeError if it is not valid."""
    end, rows = read_integer(found, "end"), read_integer(found, "rows")
    if end < offset or rows == 0:
        raise ValueError
    placement = read_placement(found) or ONE_SHARD
    return Plan(topic, offset, end, rows, read_text(found, "hash"), read_integer(found, "deadline"), placement)


def read_placement(found: dict[str, object]) -> Placement | None:
    """Read where the rows are; None if that is not recorded, ValueError, KeyError or TypeError if it is not valid."""
    if found.get("shards") is None:
        return None
    shards = read_integer(found, "shards")
    if shards == 0:
        raise ValueError
    return Placement(shards, read_integer(found, "since"))


def read_integer(found: dict[str, object], name: str) -> int:
    """Return an integer that fits ClickHouse's and Kafka's types; a boolean is not one."""
    value = found[name]
    if type(value) is not int or not 0 <= value < INTEGERS_END:
        raise ValueError(name)
    return value


def read_text(found: dict[str, object], name: str) -> str:
    """Return a string."""
    value = found[name]
    if not isinstance(value, str):
        raise TypeError(name)
    return value


def unreadable(offset: int, metadata: str) -> LogChangedError:
    """Return the error of a commit whose metadata is not valid."""
    return LogChangedError(f"offset {offset} was committed with metadata that this version cannot read: {metadata!r}")
