"""The record that `ugc-add-partitions` writes into every partition of the topic, and that the etl reads there. Pure.

From this message on the topic has `partitions` partitions, so that users' events may continue in other ones. `ends` are
the offsets at which the logs of all partitions ended before the record was written anywhere: what lies before them is
looked up by the partitions to which its users moved.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

# Protobuf has no field 0, so no reader of the topic takes the record for an event.
PREFIX = b"\x00ugc-add-partitions "
VERSION = 1


@dataclass(frozen=True)
class PartitionChange:
    """A change of the number of partitions of a topic; `topic` is the topic's id."""

    topic: str
    partitions: int
    ends: tuple[int, ...]

    def value(self) -> bytes:
        """Return the value of the Kafka message."""
        content = {"v": VERSION, "topic": self.topic, "partitions": self.partitions, "ends": self.ends}
        return PREFIX + json.dumps(content, separators=(",", ":")).encode()


def read_change(value: bytes | None) -> PartitionChange | None:
    """Read the value of a Kafka message; None if it is another message, or not one that this version writes."""
    if value is None or not value.startswith(PREFIX):
        return None
    try:
        found = json.loads(value[len(PREFIX) :])
        version, topic, partitions, ends = (found[name] for name in ("v", "topic", "partitions", "ends"))
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    numbers = [partitions, *ends] if isinstance(ends, list) else [None]
    if version != VERSION or not isinstance(topic, str) or any(type(each) is not int or each < 0 for each in numbers):
        return None
    return PartitionChange(topic, partitions, tuple(ends)) if partitions == len(ends) > 0 else None
