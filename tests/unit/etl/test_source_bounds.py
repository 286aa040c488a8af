"""A commit that Kafka does not answer times out, and no other is sent until it has ended."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, wait
from typing import Any, cast

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

from common.outage_log import OutageLog
from common.threads import in_thread
from etl.errors import SourceError
from etl.kafka.source import KafkaSource
from etl.plan import Coordinates, Topic

WAIT_SECONDS_MAX = 60.0
ANSWER_SECONDS_MAX = 0.2


class SilentConsumer:
    """A consumer that does not answer commits until it is released; like the client, it runs one call at a time."""

    def __init__(self) -> None:
        self.released = threading.Event()
        self.threads: list[int] = []
        self.paused: list[int] = []
        self._call = threading.RLock()

    @property
    def commits(self) -> int:
        return len(self.threads)

    def commit(self, **_: Any) -> list[Any]:
        with self._call:
            self.threads.append(threading.get_ident())
            assert self.released.wait(WAIT_SECONDS_MAX)
            return []

    def consume(self, _count: int, _seconds: float) -> list[Any]:
        with self._call:
            return []

    def pause(self, partitions: list[TopicPartition]) -> None:
        with self._call:
            self.paused += [each.partition for each in partitions]

    def seek(self, _partition: TopicPartition) -> None:
        with self._call:
            pass

    def resume(self, partitions: list[TopicPartition]) -> None:
        with self._call:
            self.paused = [each for each in self.paused if each not in {found.partition for found in partitions}]

    def committed(self, _partitions: list[TopicPartition], **_: Any) -> list[Any]:
        with self._call:
            return []

    def get_watermark_offsets(self, _partition: TopicPartition, **_: Any) -> tuple[int, int]:
        with self._call:
            return 0, 7

    def subscribe(self, _topics: list[str], **callbacks: Callable[..., None]) -> None:
        self.callbacks = callbacks

    def close(self) -> None:
        """Revoke partition 0, as the client does."""
        self.callbacks["on_revoke"](self, [TopicPartition("events", 0)])


class CommittingListener:
    """Commits when partitions are revoked, as the loader does, and records the callbacks."""

    def __init__(self, source: KafkaSource, consumer: SilentConsumer) -> None:
        self.source = source
        self.consumer = consumer
        self.callbacks: list[str] = []

    def on_assigned(self, partitions: Iterable[int]) -> None:
        self.callbacks.append(f"assigned {list(partitions)}")

    def on_revoked(self, partitions: Iterable[int]) -> None:
        try:
            self.source.commit(0, 2, "")
        except SourceError as error:
            self.callbacks.append(str(error))
        self.callbacks.append(f"revoked {list(partitions)}")

    def on_lost(self, partitions: Iterable[int]) -> None:
        self.callbacks.append(f"lost {list(partitions)}")

    def on_offset_out_of_range(self, number: int) -> None:
        self.callbacks.append(f"reset {number}")


def joined() -> tuple[KafkaSource, SilentConsumer, CommittingListener]:
    """Return a source that has joined its group."""
    consumer = SilentConsumer()
    source = KafkaSource(
        cast("Consumer", consumer), AdminClient({}), "events", ANSWER_SECONDS_MAX, OutageLog("reaching Kafka")
    )
    listener = CommittingListener(source, consumer)
    source.join(listener)
    return source, consumer, listener


def call_back(consumer: SilentConsumer, name: str) -> Future[Any]:
    """Run a callback in another thread."""
    return in_thread(lambda: consumer.callbacks[name](consumer, [TopicPartition("events", 0)]))


@pytest.mark.parametrize("name", ["on_revoke", "on_lost"])
def test_a_commit_that_timed_out_is_awaited(name: str) -> None:
    """The client retries the commit, and Kafka would apply it over the next owner's plan."""
    source, consumer, listener = joined()
    with pytest.raises(SourceError, match="did not answer a commit"):
        source.commit(0, 1, "")
    source._committer._seconds_max = WAIT_SECONDS_MAX

    called = call_back(consumer, name)
    assert not wait([called], 3 * ANSWER_SECONDS_MAX).done
    assert listener.callbacks == []

    consumer.released.set()
    called.result(WAIT_SECONDS_MAX)
    assert listener.callbacks == [f"{name[3:].replace('revoke', 'revoked')} [0]"]
    assert consumer.commits == (2 if name == "on_revoke" else 1)


@pytest.mark.parametrize("name", ["on_revoke", "on_lost"])
def test_the_wait_has_a_timeout(name: str) -> None:
    """A broker that does not answer does not block the callback, in which no partition is polled."""
    source, consumer, listener = joined()
    with pytest.raises(SourceError, match="did not answer a commit"):
        source.commit(0, 1, "")

    call_back(consumer, name).result(WAIT_SECONDS_MAX)
    assert listener.callbacks[-1] == f"{name[3:].replace('revoke', 'revoked')} [0]"
    assert consumer.commits == 1
    consumer.released.set()


def test_a_commit_in_a_callback_is_sent_by_its_thread() -> None:
    """The client applies a commit of another thread after the callback, when another member may own the partition."""
    source, consumer, _ = joined()
    consumer.released.set()

    source.leave()
    assert consumer.threads == [threading.get_ident()]

    source.commit(0, 3, "")
    assert consumer.threads[1:] != [threading.get_ident()]


def test_a_commit_without_an_answer() -> None:
    """The commit times out; until it has ended no other is sent, and polls return nothing."""
    consumer = SilentConsumer()
    source = KafkaSource(
        cast("Consumer", consumer), AdminClient({}), "events", ANSWER_SECONDS_MAX, OutageLog("reaching Kafka")
    )

    with pytest.raises(SourceError, match="did not answer a commit"):
        source.commit(0, 1, "")
    with pytest.raises(SourceError, match="has not answered an earlier commit yet"):
        source.commit(1, 1, "")
    assert source.poll(10, 0.0) == []
    assert consumer.commits == 1

    consumer.released.set()
    source._committer.await_last_commit()
    source.commit(1, 1, "")
    assert consumer.commits == 2


def test_a_commit_without_an_answer_does_not_block_the_loop() -> None:
    """Until it has ended no call of the client begins; a partition that is to be paused is paused afterwards."""
    source, consumer, _ = joined()
    at = Coordinates(Topic("events", "identity", "cluster"), 0)
    with pytest.raises(SourceError, match="did not answer a commit"):
        source.commit(0, 1, "")
    calls: list[Callable[[], object]] = [
        lambda: source.poll(10, 0.0),
        lambda: source.lag(0, 3),
        lambda: source.pause(0),
        lambda: source.pause(1),
        lambda: source.resume(1, 5),
        lambda: source.position(at),
        lambda: source.limits(0),
    ]

    began = [in_thread(call) for call in calls]
    assert not wait(began, WAIT_SECONDS_MAX / 2).not_done
    assert [each.result() for each in began[:4]] == [[], 0, None, None]
    assert [str(each.exception()) for each in began[4:]] == ["Kafka has not answered an earlier commit yet"] * 3
    assert consumer.paused == []

    consumer.released.set()
    source._committer.await_last_commit()
    source.resume(1, 5)
    assert source.poll(10, 0.0) == []
    assert consumer.paused == [0]
    assert source.lag(0, 3) == 4
