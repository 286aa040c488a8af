"""What counts as stored of other partitions: an offset that was committed for this topic."""

from __future__ import annotations

import pytest
from confluent_kafka import OFFSET_INVALID, TopicPartition

from etl.kafka.commits import committed_for
from etl.placement import Placement
from etl.plan import Topic, completed_metadata

TOPIC = Topic("ugc.events", "0d6be9f0-7c1f-4f5e-9f0f-3d2a6c1b8e55", "cluster")
EARLIER = completed_metadata("11111111-7c1f-4f5e-9f0f-3d2a6c1b8e55", Placement())


@pytest.mark.parametrize(
    ("offset", "metadata", "expected"),
    [
        (5_000, completed_metadata(TOPIC.identity, Placement()), 5_000),
        # Of another tool, from which the etl continues.
        (5_000, "", 5_000),
        (5_000, EARLIER, 0),
        (5_000, "unreadable", 0),
        (OFFSET_INVALID, "", 0),
    ],
)
def test_committed_for_this_topic(offset: int, metadata: str, expected: int) -> None:
    """A partition of a recreated topic is not stored up to an offset of the earlier one."""
    assert committed_for(TOPIC, TopicPartition("ugc.events", 0, offset, metadata)) == expected
