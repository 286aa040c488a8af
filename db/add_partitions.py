"""`ugc-add-partitions`: adds partitions to the topic and records the change, so that repeats across it are found.

The record is written twice: at once, and when every producer routes by the new number of partitions. Between the two, a
user's events may be in the former partition and in the new one; only events that are sent twice in this time may be
stored twice. If no producer runs meanwhile there are none.

Its command line and exit statuses are in commands.py.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

from common.commands import write_out
from common.lifecycle import interruptible
from common.settings import load
from db.errors import ConflictError, StoreError
from db.kafka.partitions import Recorded, create_partitions, partition_count, record_change
from db.kafka.topics import topic_identity
from db.settings import AddPartitionsSettings

PROGRAM = "ugc-add-partitions"
EXIT_REFUSED, EXIT_STORE = 1, 3


class Outcome(NamedTuple):
    """The numbers of partitions before and after, and the messages that were written before producers had settled."""

    before: int
    after: int
    unsettled: int = 0


def main(options: argparse.Namespace) -> None:
    """Print what would be done, and with `--apply` do it."""
    with interruptible(PROGRAM):
        settings = load(AddPartitionsSettings)
        try:
            outcome = add_partitions(settings, options.to, options.settle, is_applied=options.apply)
        except StoreError as error:
            sys.stderr.write(f"{PROGRAM}: {error}\n")
            sys.exit(EXIT_REFUSED if isinstance(error, ConflictError) else EXIT_STORE)
        write_out(text_of(settings.kafka_topic, outcome, options.settle, is_applied=options.apply))


def add_partitions(
    settings: AddPartitionsSettings,
    wanted: int,
    settle_seconds: float,
    *,
    is_applied: bool,
    sleep: Callable[[float], None] = time.sleep,
) -> Outcome:
    """Let the topic have `wanted` partitions, and record the change; safe to repeat, also after an interruption.

    If the topic has so many already, the change is only recorded: somebody has added them by other means. Raises
    ConflictError if it has more, UnavailableError if Kafka does not answer.
    """
    topic = settings.kafka_topic
    topic_id = str(topic_identity(settings, topic, needs="WRITE"))
    before = partition_count(settings, topic)
    if wanted < before:
        raise ConflictError(f"topic {topic} has {before} partitions, and Kafka cannot take partitions away")
    if not is_applied:
        return Outcome(before, wanted)
    if wanted > before:
        create_partitions(settings, topic, wanted)
    first = record_change(settings, topic, topic_id, wanted)
    sleep(settle_seconds)
    second = record_change(settings, topic, topic_id, wanted)
    return Outcome(before, wanted, messages_between(before, first, second))


def messages_between(before: int, first: Recorded, second: Recorded) -> int:
    """Return how many messages were written from the change on until the second record."""
    # What a new partition has before its first record was written after the change too.
    early = sum(offset for number, offset in first.offsets.items() if number >= before)
    return early + sum(second.offsets[number] - offset - 1 for number, offset in first.offsets.items())


def text_of(topic: str, outcome: Outcome, settle_seconds: float, *, is_applied: bool) -> str:
    """Return what was done, or would be done."""
    before, after, unsettled = outcome
    moved = f"about {moved_share(before, after):.0%} of the users move to another partition"
    what = f"topic {topic}: from {before} to {after} partitions, {moved}"
    if before == after:
        what = f"topic {topic}: it has {after} partitions already, so the change is only recorded"
    if not is_applied:
        return f"dry run: {what}; do it with --apply\n"
    cost = (
        f"{unsettled:,} messages were written in {settle_seconds:g} s while producers may have known different numbers "
        "of partitions: an event that was sent twice among them may be stored twice, which ugc-audit counts"
        if unsettled
        else "no message was written meanwhile, so no repeat is stored twice"
    )
    return f"{what}; recorded in every partition\n{cost}\nset UGC_KAFKA_PARTITIONS={after}\n"


def moved_share(before: int, after: int) -> float:
    """Return the share of the users whose partition changes."""
    return 1 - before / math.lcm(before, after)


if __name__ == "__main__":
    from db.commands import add_partitions as command

    command()
