"""A batch on its way, and what is made of its messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from etl.block import Coordinates
from etl.errors import DataRefusedError, LogChangedError
from etl.events.rows import Rows
from etl.kafka.message import Message
from etl.partition import Partition
from etl.plan import Plan


@dataclass
class Batch:
    """Messages that follow one another in the log, their rows, and the plan under which these are inserted now."""

    at: Coordinates
    messages: Sequence[Message]
    rows: Rows
    plan: Plan
    # Inserts made under the present plan; it numbers their names.
    parts: int = 0
    # The originals that have repeats in this batch, and the last of these.
    chains: Mapping[int, int] = field(default_factory=dict)

    # Whether its rows were counted among those of which so many may be refused.
    is_counted: bool = False

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


def spell(error: DataRefusedError) -> str:
    """Write why ClickHouse does not take an event."""
    return f"ClickHouse's error {error.code}: {error}"


def forget_refused(batch: Batch, rows: Rows, partition: Partition) -> None:
    """Let refused events come again without being repeats."""
    for offset, identity in zip(rows.offsets, rows.identities, strict=True):
        partition.window.forget(identity, (offset, batch.chains.get(offset, offset)))
