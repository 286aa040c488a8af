"""Reads the topic as a member of the consumer group, and commits offsets with plans as their metadata."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from operator import methodcaller
from typing import cast

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka import Message as ConsumedMessage
from confluent_kafka.admin import AdminClient

from common.kafka_problems import is_denied
from common.logs import logger
from common.outage_log import OutageLog
from etl.errors import ConsumerLostError, LogChangedError, SourceError
from etl.events.rows import Message
from etl.kafka.commits import CHECK_SECONDS, Committer, committed_for, raise_for_errors
from etl.kafka.membership import Membership
from etl.plan import Coordinates, Position, Topic, read_position
from etl.stores import Listener

# The next offset is not in the log.
OFFSET_ERRORS = (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE)  # noqa: SLF001 -- the library's public constant
# Messages are consumed in small groups, up to a total size: Kafka's client fetches more while a large group waits.
CONSUMED_MESSAGES_MAX = 500
POLL_BYTES_MAX = 67_108_864


class KafkaSource:
    """The topic's messages, and the group's commits.

    Not thread-safe, except `topic`, `position`, `committed_offsets` and `limits`.
    """

    def __init__(
        self,
        consumer: Consumer,
        admin: AdminClient,
        topic: str,
        seconds_max: float,
        log: OutageLog,
        membership: Membership | None = None,
        count_error: Callable[[str], None] = lambda _name: None,
    ) -> None:
        self._consumer = consumer
        self._admin = admin
        self._topic = topic
        self._seconds_max = seconds_max
        self._outage = log
        self._membership = membership or Membership()
        self._count_error = count_error
        self._listener: Listener | None = None
        self._committer = Committer(lambda offset: consumer.commit(offsets=[offset], asynchronous=False), seconds_max)
        self._is_in_callback = False
        # Partitions that were to be paused while a commit blocked the client.
        self._to_pause: set[int] = set()

    def join(self, listener: Listener) -> None:
        """Join the group; `listener` receives the changes of the assignment."""
        self._listener = listener
        self._consumer.subscribe(
            [self._topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )

    def poll(self, count: int, seconds: float) -> list[Message]:
        """Return up to `count` messages after at most `seconds`; ConsumerLostError if the client has failed for good.

        The messages have at most about POLL_BYTES_MAX together. None while Kafka does not answer a commit, because the
        client would block the loop until it does.
        """
        # The admin client queues its errors in memory until it is polled: one a second in an outage.
        self._admin.poll(0)
        if not self._committer.is_idle(CHECK_SECONDS):
            return []
        while self._to_pause:
            self.pause(self._to_pause.pop())
        consumed = self._consume(count, seconds)
        # KafkaError can neither be compared with None nor tested for truth.
        errors = [error for error in map(methodcaller("error"), consumed) if error is not None]
        if len(errors) < len(consumed):
            self._outage.over()
        if errors:
            for message in consumed:
                if (error := message.error()) is not None:
                    self._handle(error, message.partition())
            consumed = [message for message in consumed if message.error() is None]
        return cast("list[Message]", consumed)

    def _consume(self, count: int, seconds: float) -> list[ConsumedMessage]:
        consumed: list[ConsumedMessage] = []
        deadline, size = time.monotonic() + seconds, 0
        while len(consumed) < count and size < POLL_BYTES_MAX:
            wanted = min(count - len(consumed), CONSUMED_MESSAGES_MAX)
            some = self._consumer.consume(wanted, max(0.0, deadline - time.monotonic()))
            consumed += some
            size += sum(map(len, some))
            if len(some) < wanted:
                break
        return consumed

    def _handle(self, error: KafkaError, partition: int | None) -> None:
        self._count_error(error.name())
        if error.code() in OFFSET_ERRORS and partition is not None and self._listener is not None:
            self._listener.on_offset_out_of_range(partition)
        elif error.code() == KafkaError._FATAL:  # noqa: SLF001 -- the library's public constant
            # The client delivers nothing from now on, and reports it only once.
            raise ConsumerLostError(f"Kafka's client gave up: {error.str()}")
        elif not is_denied(error.name()):
            # What the authorizer denies is found and logged by etl/kafka/permissions.py.
            self._outage.failed(KafkaException(error))

    def topic(self) -> Topic:
        """Return the topic as it is now; SourceError if Kafka does not answer or does not have it."""
        try:
            # First, because it updates the client's controller, which may be a broker that is down.
            cluster = self._admin.list_topics(self._topic, timeout=self._seconds_max).cluster_id
            asked = self._admin.describe_topics(TopicCollection([self._topic]), request_timeout=self._seconds_max)
            found = asked[self._topic].result(2 * self._seconds_max)
        except KafkaException as error:
            raise SourceError(str(error.args[0])) from error
        except TimeoutError as error:
            raise SourceError(f"Kafka does not describe the topic {self._topic}") from error
        return Topic(self._topic, uuid_text(found.topic_id), str(cluster))

    def position(self, at: Coordinates) -> Position:
        """Return what the group has committed for a partition."""
        self._committer.require_none_in_flight()
        try:
            (found,) = self._consumer.committed([self._at(at.partition)], timeout=self._seconds_max)
        except KafkaException as error:
            raise SourceError(str(error.args[0])) from error
        if found.error:
            raise SourceError(str(found.error))
        try:
            # The offset is -1001 if nothing was committed.
            return read_position(at.topic.identity, found.offset if found.offset >= 0 else None, found.metadata or "")
        except LogChangedError as error:
            raise LogChangedError(f"partition {at.partition}: {error}") from error

    def committed_offsets(self, topic: Topic, partitions: Collection[int]) -> Mapping[int, int]:
        """Return the offsets that the group has committed for partitions, 0 where it has not for this topic."""
        self._committer.require_none_in_flight()
        asked = [TopicPartition(topic.name, number) for number in partitions]
        try:
            found = self._consumer.committed(asked, timeout=self._seconds_max) if asked else []
        except KafkaException as error:
            raise SourceError(str(error.args[0])) from error
        raise_for_errors(found)
        return {each.partition: committed_for(topic, each) for each in found}

    def limits(self, partition: int) -> tuple[int, int]:
        """Return the first offset of the log, and the one after its last."""
        self._committer.require_none_in_flight()
        try:
            low, high = self._consumer.get_watermark_offsets(self._at(partition), timeout=self._seconds_max)
        except KafkaException as error:
            raise SourceError(str(error.args[0])) from error
        return low, high

    def lag(self, partition: int, offset: int) -> int:
        """Return how many messages the log held from an offset on when its end was last seen; 0 if it was not."""
        if not self._committer.is_idle():
            return 0
        try:
            _, high = self._consumer.get_watermark_offsets(self._at(partition), cached=True)
        except KafkaException:  # the partition was revoked
            return 0
        return max(0, high - offset)

    def resume(self, partition: int, offset: int) -> None:
        """Deliver a partition's messages from an offset on."""
        self._committer.require_none_in_flight()
        self._to_pause.discard(partition)
        try:
            self._consumer.seek(self._at(partition, offset))
            self._consumer.resume([self._at(partition)])
        except KafkaException as error:
            raise SourceError(str(error.args[0])) from error

    def pause(self, partition: int) -> None:
        """Deliver no messages of a partition until it is resumed."""
        if not self._committer.is_idle():
            self._to_pause.add(partition)
            return
        try:
            self._consumer.pause([self._at(partition)])
        except KafkaException as error:  # the partition was revoked, so nothing of it is delivered
            logger().debug("a partition could not be paused", partition=partition, error=str(error))

    def commit(self, partition: int, offset: int, metadata: str) -> None:
        """Commit an offset and wait for the answer; SourceError unless Kafka acknowledges it.

        One partition per commit, because an error of one would hide that those of others were applied.
        """
        commit = self._committer.commit_in_callback if self._is_in_callback else self._committer.commit
        commit(self._at(partition, offset, metadata))

    def leave(self) -> None:
        """Leave the group."""
        self._consumer.close()

    def _on_revoke(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        assert self._listener is not None  # noqa: S101 -- set by join
        self._committer.await_last_commit()
        self._is_in_callback, revoked = True, numbers(partitions)
        try:
            self._listener.on_revoked(revoked)
        finally:
            self._is_in_callback = False

    def _on_lost(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        # The client joins the group again after this, and would retry a commit as a new member.
        assert self._listener is not None  # noqa: S101 -- set by join
        self._membership.lost()
        self._committer.await_last_commit()
        self._listener.on_lost(numbers(partitions))

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        # Paused at once: the position of each partition is known when it is restored, after this poll.
        paused = [self._at(each.partition, OFFSET_BEGINNING) for each in partitions]
        consumer.incremental_assign(paused)
        consumer.pause(paused)
        self._membership.assigned()
        assert self._listener is not None  # noqa: S101 -- set by join
        self._listener.on_assigned(numbers(partitions))

    def _at(self, partition: int, offset: int | None = None, metadata: str = "") -> TopicPartition:
        if offset is None:
            return TopicPartition(self._topic, partition)
        return TopicPartition(self._topic, partition, offset, metadata)


def numbers(partitions: Iterable[TopicPartition]) -> list[int]:
    """Return the numbers of partitions of the one topic."""
    return [each.partition for each in partitions]


def uuid_text(identity: object) -> str:
    """Return a topic's id in the usual form of a UUID; Kafka's own form is base64."""
    high, low = (
        number % 2**64
        for number in (identity.get_most_significant_bits(), identity.get_least_significant_bits())  # type: ignore[attr-defined]  # the client has no types
    )
    text = f"{high:016x}{low:016x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
