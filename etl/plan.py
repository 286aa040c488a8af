"""What the ETL is about to insert, written into the metadata of Kafka's offset commit. Pure.

A commit of offset `a` with a plan says: everything before `a` is stored, and [a, end] may be. Whoever reads it later
knows exactly which rows to look for, and until when somebody else may still insert them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

from etl.errors import LogChangedError

VERSION = 1
# Kafka's limit is offset.metadata.max.bytes, 4,096 by default.
METADATA_CHARACTERS_MAX = 4_095
INTEGERS_END = 2**63


@dataclass(frozen=True)
class Topic:
    """A topic by name and by what tells it from a later one of that name; `cluster` is Kafka's cluster id."""

    name: str
    identity: str
    cluster: str


@dataclass(frozen=True)
class Plan:
    """The insert of the offsets from `first` to `end`, both included.

    `rows` is the number of messages, `digest` tells their contents; `deadline` is in milliseconds of ClickHouse's
    clock: an insert that begins later is refused by ClickHouse.
    """

    topic: str
    first: int
    end: int
    rows: int
    digest: str
    deadline: int

    def until(self, deadline: int) -> Plan:
        """Return the same plan with another deadline."""
        return replace(self, deadline=deadline)

    def metadata(self) -> str:
        """Return what is committed beside the offset `first`."""
        text = {"v": VERSION, "topic": self.topic, "end": self.end, "rows": self.rows}
        return json.dumps(text | {"hash": self.digest, "deadline": self.deadline}, separators=(",", ":"))


def closing_metadata(topic: str) -> str:
    """Return what is committed beside an offset up to which everything is stored and nothing is planned."""
    return json.dumps({"v": VERSION, "topic": topic}, separators=(",", ":"))


@dataclass(frozen=True)
class Position:
    """What Kafka holds for a partition: the next offset, None where nothing was committed, and perhaps a plan.

    A commit of ours tells all that is planned; any other, or none, may stand where a plan of ours stood.
    """

    offset: int | None = None
    plan: Plan | None = None
    is_ours: bool = False


def read_position(topic: str, offset: int | None, metadata: str) -> Position:
    """Read a commit; LogChangedError when its metadata is of no kind that this version writes.

    A commit for another topic of the same name is none for this one. Empty metadata is what other tools commit.
    """
    if offset is None or not metadata:
        return Position(offset)
    try:
        found = json.loads(metadata)
        version, of_topic = whole(found, "v"), text(found, "topic")
        plan = read_plan(topic, offset, found) if found.get("end") is not None else None
    # Whoever committed it may have nested it deeper than the parser goes.
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise unreadable(offset, metadata) from error
    if version != VERSION:
        raise unreadable(offset, metadata)
    return Position(offset, plan, is_ours=True) if of_topic == topic else Position()


def read_plan(topic: str, offset: int, found: dict[str, Any]) -> Plan:
    """Read a plan; ValueError, KeyError or TypeError when it is not one."""
    end, rows = whole(found, "end"), whole(found, "rows")
    if end < offset or rows == 0:
        raise ValueError
    return Plan(topic, offset, end, rows, text(found, "hash"), whole(found, "deadline"))


def whole(found: dict[str, Any], name: str) -> int:
    """Return a number that ClickHouse and Kafka have a type for; a truth value is not a number."""
    value = found[name]
    if type(value) is not int or not 0 <= value < INTEGERS_END:
        raise ValueError(name)
    return value


def text(found: dict[str, Any], name: str) -> str:
    """Return a text."""
    value = found[name]
    if not isinstance(value, str):
        raise TypeError(name)
    return value


def unreadable(offset: int, metadata: str) -> LogChangedError:
    """Say that a commit is not of our kind."""
    return LogChangedError(f"offset {offset} was committed with metadata that this version cannot read: {metadata!r}")
