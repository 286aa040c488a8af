"""A batch on its way, and what is made of its messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from etl.block import Coordinates
from etl.errors import DataRefusedError, LogChangedError
from etl.identity import split
from etl.message import Message
from etl.partition import Partition
from etl.plan import Plan
from etl.rows import REFUSED, Rejected, Rows, reject


@dataclass
class Batch:
    """Messages that follow one another in the log, their rows, and the plan under which these are inserted now."""

    at: Coordinates
    messages: Sequence[Message]
    rows: Rows
    plan: Plan
    # Inserts made under the present plan; it numbers their names.
    parts: int = 0
    refused: list[Rejected] = field(default_factory=list)

    def next_part(self) -> int:
        """Return the number of the next insert."""
        self.parts += 1
        return self.parts


def coordinates(partition: Partition) -> Coordinates:
    """Return which partition an open one is."""
    assert partition.at is not None  # noqa: S101 -- opening it sets it
    return partition.at


def refuse_another_log(partition: Partition, planned: Plan, found: Plan) -> None:
    """Raise LogChangedError when the messages are not those that the plan was made for."""
    if (planned.end, planned.rows, planned.digest) != (found.end, found.rows, found.digest):
        raise LogChangedError(
            f"partition {partition.number}: the plan {planned} does not fit the log, where {found.rows} messages with "
            f"digest {found.digest} stand; were messages deleted before they were stored? Look with ugc-audit, then "
            "commit the offset to go on from with empty metadata, by Kafka's own tools, while no etl runs"
        )


def refusals(batch: Batch, rows: Rows, found: Mapping[int, DataRefusedError]) -> list[Rejected]:
    """Describe the events that ClickHouse does not take."""
    messages = {message.offset(): message for message in batch.messages if message.offset() in found}
    refused = rows.select(lambda offset: offset in found)
    return [
        reject(messages[offset], REFUSED, f"ClickHouse's error {found[offset].code}: {found[offset]}", *split(identity))
        for offset, identity in zip(refused.offsets, refused.identities, strict=True)
    ]


def forget_refused(batch: Batch, partition: Partition) -> None:
    """Let refused events come again without being repeats."""
    offsets = {each.offset for each in batch.refused}
    for identity in batch.rows.select(lambda offset: offset in offsets).identities:
        partition.window.forget(identity)
