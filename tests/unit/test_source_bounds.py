"""A commit that Kafka does not answer has a limit, and none is sent after it before it has ended."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, wait
from typing import Any, cast

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

from etl.aside import in_thread
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

    def subscribe(self, _topics: list[str], **callbacks: Callable[..., None]) -> None:
        self.callbacks = callbacks

    def close(self) -> None:
        """Give partition 0 up, as the client does."""
        self.callbacks["on_revoke"](self, [TopicPartition("events", 0)])


class CommittingListener:
    """Commits what is stored when partitions are revoked, as the loader does; notes what it hears."""

    def __init__(self, source: KafkaSource, consumer: SilentConsumer) -> None:
        self.source = source
        self.consumer = consumer
        self.heard: list[str] = []

    def assigned(self, partitions: Iterable[int]) -> None:
        self.heard.append(f"assigned {list(partitions)}")

    def revoked(self, partitions: Iterable[int]) -> None:
        try:
            self.source.commit(0, 2, "")
        except SourceError as error:
            self.heard.append(str(error))
        self.heard.append(f"revoked {list(partitions)}")

    def lost(self, partitions: Iterable[int]) -> None:
        self.heard.append(f"lost {list(partitions)}")

    def reset(self, number: int) -> None:
        self.heard.append(f"reset {number}")


def joined() -> tuple[KafkaSource, SilentConsumer, CommittingListener]:
    """Make a source that has joined its group."""
    consumer = SilentConsumer()
    source = KafkaSource(
        cast("Consumer", consumer), AdminClient({}), "events", ANSWER_SECONDS_MAX, Outage("reaching Kafka")
    )
    listener = CommittingListener(source, consumer)
    source.join(listener)
    return source, consumer, listener


def in_callback(consumer: SilentConsumer, name: str) -> Future[Any]:
    """Call back as a poll does, from another thread, and wait for longer than a commit may take."""
    called = in_thread(lambda: consumer.callbacks[name](consumer, [TopicPartition("events", 0)]))
    assert not wait([called], 3 * ANSWER_SECONDS_MAX).done
    return called


@pytest.mark.parametrize("name", ["on_revoke", "on_lost"])
def test_partitions_are_not_given_up_while_a_commit_is_on_its_way(name: str) -> None:
    """Kafka's client would repeat it, and Kafka take it in the place of the next owner's plan."""
    source, consumer, listener = joined()
    with pytest.raises(SourceError, match="did not answer a commit"):
        source.commit(0, 1, "")

    called = in_callback(consumer, name)
    assert listener.heard == []

    consumer.released.set()
    called.result(WAIT_SECONDS_MAX)
    assert listener.heard == [f"{name[3:].replace('revoke', 'revoked')} [0]"]
    assert consumer.commits == (2 if name == "on_revoke" else 1)


def test_nor_while_the_last_commit_of_its_owner_is() -> None:
    """What is stored is committed when a partition is revoked; its end is awaited although its time was up."""
    _, consumer, listener = joined()

    called = in_callback(consumer, "on_revoke")
    assert listener.heard == [f"Kafka did not answer a commit in {ANSWER_SECONDS_MAX:g} s", "revoked [0]"]

    consumer.released.set()
    called.result(WAIT_SECONDS_MAX)
    assert consumer.commits == 1


def test_leaving_the_group_has_a_limit() -> None:
    """With the client its commits end: a stop waits for the answer, and not for as long as it takes."""
    source, consumer, listener = joined()

    source.leave()

    assert listener.heard == [f"Kafka did not answer a commit in {ANSWER_SECONDS_MAX:g} s", "revoked [0]"]
    consumer.released.set()


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
    source._committer.settle(WAIT_SECONDS_MAX)
    source.commit(1, 1, "")
    assert consumer.commits == 2
