"""A halt that the etl has recorded in its commit, as the audit shows it."""

from __future__ import annotations

import json
import uuid

import pytest

from db.audit import halts
from db.conservation import BreachKind
from db.kafka.topics import PartitionOffsets

TOPIC = uuid.UUID(int=1)
HALTED = json.dumps({"v": 1, "topic": str(TOPIC), "end": 109, "halted": "the log holds 0 to 79"})


@pytest.mark.parametrize(("high", "count"), [(130, 30), (80, 0)])
def test_halted(high: int, count: int) -> None:
    """A halted partition is a breach with its reason, whether or not messages wait in it."""
    (breach,) = halts(TOPIC, [PartitionOffsets(2, 0, high, 100, ""), PartitionOffsets(3, 0, high, 100, HALTED)])

    assert (breach.kind, breach.partition, breach.count) == (BreachKind.HALTED, 3, count)
    assert str(breach).endswith("not consumed, because the partition is halted: the log holds 0 to 79")


@pytest.mark.parametrize(
    "metadata", ["", "{", "[]", "7", "null", "[" * 100_000, '{"halted":"x"}', json.dumps({"topic": str(TOPIC)})]
)
def test_not_halted(metadata: str) -> None:
    """Metadata without a halt of this topic is not one."""
    assert halts(TOPIC, [PartitionOffsets(3, 0, 130, 100, metadata)]) == []
    assert halts(uuid.UUID(int=2), [PartitionOffsets(3, 0, 130, 100, HALTED)]) == []
