"""Reads from the group's commit that the etl has halted a partition."""

from __future__ import annotations

import json
import uuid

from db.kafka.topics import PartitionOffsets


def halted(topic_id: uuid.UUID, offsets: PartitionOffsets) -> str | None:
    """Return why the partition is halted; None if the commit does not record that for this topic."""
    try:
        found = json.loads(offsets.metadata)
        reason = found["halted"] if found["topic"] == str(topic_id) else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return None if reason is None else str(reason)
