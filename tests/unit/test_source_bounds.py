"""A commit that Kafka does not answer has a limit, and none is sent after it before it has ended."""

from __future__ import annotations

import threading
from typing import Any, cast

import pytest
from confluent_kafka import Consumer
from confluent_kafka.admin import AdminClient

from etl.errors import SourceError
from etl.source import KafkaSource
from services.runtime.logs import Outage

WAIT_SECONDS_MAX = 60.0
ANSWER_SECONDS_MAX = 0.2


class SilentConsumer:
    """Does not answer commits until it is released."""

    def __init__(self) -> None:
        self.released = threading.Event()
        self.commits = 0

    def commit(self, **_: Any) -> list[Any]:
        self.commits += 1
        assert self.released.wait(WAIT_SECONDS_MAX)
        return []

    def consume(self, _count: int, _seconds: float) -> list[Any]:
        return []


def test_a_commit_without_an_answer() -> None:
    """The caller has its error after the limit; until the commit has ended no other is sent, and polls go on."""
    consumer = SilentConsumer()
    source = KafkaSource(
        cast("Consumer", consumer), AdminClient({}), "events", ANSWER_SECONDS_MAX, Outage("reaching Kafka")
    )

    with pytest.raises(SourceError, match="did not answer a commit"):
        source.commit(0, 1, "")
    with pytest.raises(SourceError, match="has not answered an earlier commit yet"):
        source.commit(1, 1, "")
    assert source.poll(10, 0.0) == []
    assert consumer.commits == 1

    consumer.released.set()
    source._committing.result(WAIT_SECONDS_MAX)
    source.commit(1, 1, "")
    assert consumer.commits == 2
