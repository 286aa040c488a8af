"""A batch before its plan: decoded messages. It ends where partitions were added to the topic. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from etl.events.rows import PARTITIONS_ADDED, Message, Rows, digest


@dataclass(frozen=True)
class Prepared:
    """Consecutive messages of a partition, decoded, and their checksum: a batch before its plan."""

    messages: Sequence[Message]
    rows: Rows
    digest: str
    # Whether it has a record of added partitions: another duplicate window applies to what follows.
    has_change: bool = False


def prepared(messages: Sequence[Message], rows: Rows, *, is_planned: bool = False) -> Prepared:
    """Return decoded messages as a batch, which ends with the first record of a change unless its end `is_planned`."""
    change = next((each.offset for each in rows.rejected if each.reason == PARTITIONS_ADDED), None)
    if change is not None and not is_planned:
        messages = [message for message in messages if message.offset() <= change]
        rows = rows.select(lambda offset: offset <= change)
    return Prepared(messages, rows, digest(messages), has_change=change is not None)
