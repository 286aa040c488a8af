"""Records in Kafka that a partition is halted, so that every later owner stays halted until a person decides.

A log that was truncated may grow past the committed offset. Nothing then shows that it has other messages, so the next
owner of the partition would pass over those before that offset. The record is a commit of the same offset and the same
plan with the reason in its metadata. A person ends the halt with a commit that has empty metadata.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass

from common.logs import log_limited
from etl.errors import LogChangedError, SourceError
from etl.partition import LoaderLimits, Partition
from etl.placement import ONE_SHARD
from etl.plan import HALTED_CHARACTERS_MAX, METADATA_CHARACTERS_MAX, Position, completed_metadata
from etl.stores import Commits

# What JSON adds to the reason.
FIELD_CHARACTERS = len(',"halted":""')


@dataclass
class Unrecorded:
    """A halt that Kafka does not have yet: the commit that records it, and the time of the next attempt."""

    offset: int
    metadata: str
    failures: int = 0
    due: float = 0.0


class HaltRecords:
    """The halts of a process that Kafka does not have yet."""

    def __init__(self, commits: Commits, limits: LoaderLimits, monotonic: Callable[[], float]) -> None:
        self._commits = commits
        self._limits = limits
        self._monotonic = monotonic
        self._unrecorded: dict[int, Unrecorded] = {}

    def add(self, partition: Partition, error: LogChangedError) -> None:
        """Add the halt of a partition, before its state is discarded; not if its commit has one, or was not read.

        A halt is found before the owner commits anything, so the commit that it found is still the one in Kafka.
        """
        found = partition.position
        if found is not None and found.offset is not None and found.halted is None:
            metadata = halted_metadata(partition.topic_id, found, str(error))
            self._unrecorded[partition.number] = Unrecorded(found.offset, metadata)

    def record(self) -> None:
        """Commit the halts whose time has come; one that Kafka does not acknowledge is tried again after a wait."""
        for number, each in list(self._unrecorded.items()):
            if self._monotonic() < each.due:
                continue
            try:
                self._commits.commit(number, each.offset, each.metadata)
            except SourceError as error:
                log_limited(
                    logging.WARNING,
                    "the halt of a partition is not recorded in Kafka yet, retrying",
                    kind=number,
                    partition=number,
                    error=str(error),
                )
                each.due = self._monotonic() + self._limits.retry_seconds(each.failures)
                each.failures += 1
            else:
                del self._unrecorded[number]

    def remove(self, partition: int) -> None:
        """Forget the halt of a partition that this process no longer owns."""
        self._unrecorded.pop(partition, None)


def halted_metadata(topic: str, position: Position, reason: str) -> str:
    """Return the metadata of a commit with the same plan, which records why the partition is halted.

    It fits into Kafka's metadata; versions without the record read it as the commit that it was.
    """
    plan = position.plan
    found = completed_metadata(topic, position.placement or ONE_SHARD) if plan is None else plan.metadata()
    room = max(0, min(HALTED_CHARACTERS_MAX, METADATA_CHARACTERS_MAX - len(found) - FIELD_CHARACTERS))
    # Characters that JSON would escape are replaced, so that each takes one.
    text = "".join(each if " " <= each <= "~" and each not in '"\\' else "?" for each in reason[:room])
    return json.dumps(json.loads(found) | {"halted": text}, separators=(",", ":"))
