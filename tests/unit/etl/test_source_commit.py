"""A commit of the source succeeds only if Kafka acknowledges it."""

from __future__ import annotations

from typing import Any, cast

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from common.outage_log import OutageLog
from etl.errors import SourceError
from etl.kafka.source import KafkaSource

REFUSED = KafkaError(KafkaError.UNKNOWN_MEMBER_ID)


class Answered:
    """A partition in Kafka's answer to a commit."""

    def __init__(self, error: KafkaError | None = None) -> None:
        self.error = error


class CommittingConsumer:
    """A consumer that returns or raises a given answer to a commit."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.commits: list[tuple[list[TopicPartition], bool]] = []

    def commit(self, *, offsets: list[TopicPartition], asynchronous: bool) -> Any:
        self.commits.append((offsets, asynchronous))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def committed(answer: Any) -> CommittingConsumer:
    """Commit an offset of partition 3."""
    consumer = CommittingConsumer(answer)
    source = KafkaSource(cast("Consumer", consumer), AdminClient({}), "events", 1.0, OutageLog("reaching Kafka"))
    source.commit(3, 100, "a plan")
    return consumer


@pytest.mark.parametrize("answer", [[Answered()], [], None])
def test_done(answer: Any) -> None:
    """A commit has one partition, with its offset and the plan, and is synchronous."""
    ((offsets, asynchronous),) = committed(answer).commits

    assert [(each.topic, each.partition, each.offset, each.metadata) for each in offsets] == [
        ("events", 3, 100, "a plan")
    ]
    assert asynchronous is False


@pytest.mark.parametrize("answer", [KafkaException(REFUSED), [Answered(REFUSED)], [Answered(), Answered(REFUSED)]])
def test_refused(answer: Any) -> None:
    """A commit that Kafka rejects, as a whole or for the partition, is an error."""
    with pytest.raises(SourceError, match="UNKNOWN_MEMBER_ID"):
        committed(answer)
