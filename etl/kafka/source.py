"""Reads the topic as a member of the consumer group, and commits offsets with what is planned."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator
from typing import Any, Protocol, cast

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka import Message as ConsumedMessage
from confluent_kafka.admin import AdminClient

from common.logs import OutageLog, logger
from etl.block import Coordinates
from etl.errors import ConsumerLostError, LogChangedError, SourceError
from etl.kafka.commits import Committer
from etl.kafka.message import Message
from etl.plan import Position, Topic, read_position
from etl.settings import EtlSettings

# Longer than the longest insert with its retries between two polls.
POLL_INTERVAL_SECONDS_MAX = 600
# The offset to go on from is not in the log.
OFFSET_ERRORS = (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE)  # noqa: SLF001 -- so it is named
# Less would end connections on which the broker waits for messages.
SOCKET_MILLISECONDS_MIN = 2_000
# Messages are taken so many at a time, until their bytes are so many: Kafka's client fetches on while it is asked.
TAKEN_MESSAGES_MAX = 500
POLL_BYTES_MAX = 67_108_864


class Listener(Protocol):
    """Who hears which partitions are ours. Called inside poll, where no exception may escape."""

    def assigned(self, partitions: Iterable[int]) -> None:
        """Hear of new ones."""

    def revoked(self, partitions: Iterable[int]) -> None:
        """Hear of some that are to be given up, and are still ours."""

    def lost(self, partitions: Iterable[int]) -> None:
        """Hear of some that are another's already."""

    def reset(self, number: int) -> None:
        """Hear of one whose next offset Kafka does not have."""


@contextlib.contextmanager
def connected(settings: EtlSettings) -> Iterator[KafkaSource]:
    """Make the consumer, which joins the group with `join`; leave the group on the way out."""
    outage = OutageLog("reaching Kafka")
    connection: dict[str, Any] = {
        "bootstrap.servers": settings.kafka_bootstrap_servers,
        "reconnect.backoff.max.ms": 1000,
        # How long a broker may take to answer any request, a commit too; then it is asked on a new connection.
        "socket.timeout.ms": max(round(settings.etl_kafka_seconds_max * 1_000), SOCKET_MILLISECONDS_MIN),
    }
    # At level 3 a broker that is away is a line for each attempt to reach it; `outage` says it once.
    quiet: dict[str, Any] = {"log_level": 2, "error_cb": lambda error: outage.failed(KafkaException(error))}
    consumer = Consumer(
        {
            **connection,
            **quiet,
            "client.id": "ugc-etl",
            "group.id": settings.etl_group,
            # KIP-848: joins in a fraction of a second, revokes single partitions, notices a recreated topic.
            "group.protocol": "consumer",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            # Where a partition begins is decided when it is opened; an offset that is gone is for a person to judge.
            "auto.offset.reset": "error",
            "max.poll.interval.ms": POLL_INTERVAL_SECONDS_MAX * 1000,
            "queued.max.messages.kbytes": settings.etl_fetch_kilobytes_max,
            "fetch.wait.max.ms": 100,
            "topic.metadata.refresh.interval.ms": 10_000,
        }
    )
    source = KafkaSource(
        consumer, AdminClient({**connection, **quiet}), settings.kafka_topic, settings.etl_kafka_seconds_max, outage
    )
    try:
        yield source
    finally:
        source.leave()


class KafkaSource:
    """The topic's messages, and the group's commits. For one thread; `topic`, `position`, `limits` for any."""

    def __init__(self, consumer: Consumer, admin: AdminClient, topic: str, seconds_max: float, log: OutageLog) -> None:
        self._consumer = consumer
        self._admin = admin
        self._topic = topic
        self._seconds_max = seconds_max
        self._outage = log
        self._listener: Listener | None = None
        self._committer = Committer(lambda place: consumer.commit(offsets=[place], asynchronous=False), seconds_max)
        self._is_in_callback = False

    def join(self, listener: Listener) -> None:
        """Join the group; `listener` hears what becomes ours."""
        self._listener = listener
        self._consumer.subscribe(
            [self._topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )

    def poll(self, count: int, seconds: float) -> list[Message]:
        """Return up to `count` messages after at most `seconds`; ConsumerLostError when none will ever come.

        They are fewer when they are large: POLL_BYTES_MAX and a few.
        """
        # Its errors wait in memory until they are asked for: in an outage, one a second.
        self._admin.poll(0)
        taken = self._take(count, seconds)
        good = [message for message in taken if message.error() is None]
        if good:
            self._outage.over()
        for message in taken if len(good) != len(taken) else ():
            if error := message.error():
                self._heard(error, message.partition())
        return cast("list[Message]", good)

    def _take(self, count: int, seconds: float) -> list[ConsumedMessage]:
        taken: list[ConsumedMessage] = []
        deadline, size = time.monotonic() + seconds, 0
        while len(taken) < count and size < POLL_BYTES_MAX:
            wanted = min(count - len(taken), TAKEN_MESSAGES_MAX)
            some = self._consumer.consume(wanted, max(0.0, deadline - time.monotonic()))
            taken += some
            size += sum(map(len, some))
            if len(some) < wanted:
                break
        return taken

    def _heard(self, error: KafkaError, partition: int | None) -> None:
        if error.code() in OFFSET_ERRORS and partition is not None and self._listener is not None:
            self._listener.reset(partition)
        elif error.code() == KafkaError._FATAL:  # noqa: SLF001 -- so it is named
            # From now on it delivers nothing, and says so only once.
            raise ConsumerLostError(f"Kafka's client gave up: {error.str()}")
        else:
            self._outage.failed(KafkaException(error))

    def topic(self) -> Topic:
        """Return the topic as it is now; SourceError when Kafka does not answer or has none of that name."""
        try:
            # First, because it learns which broker is the controller now: the client would go on asking a dead one.
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
        try:
            (found,) = self._consumer.committed([self._at(at.partition)], timeout=self._seconds_max)
        except KafkaException as error:
            raise SourceError(str(error.args[0])) from error
        if found.error:
            raise SourceError(str(found.error))
        try:
            # Kafka says -1001 where nothing was committed.
            return read_position(at.topic.identity, found.offset if found.offset >= 0 else None, found.metadata or "")
        except LogChangedError as error:
            raise LogChangedError(f"partition {at.partition}: {error}") from error

    def limits(self, partition: int) -> tuple[int, int]:
        """Return the first offset that the log holds, and the one after its last."""
        try:
            low, high = self._consumer.get_watermark_offsets(self._at(partition), timeout=self._seconds_max)
        except KafkaException as error:
            raise SourceError(str(error.args[0])) from error
        return low, high

    def start(self, partition: int, offset: int) -> None:
        """Deliver a partition's messages from an offset on."""
        try:
            self._consumer.seek(self._at(partition, offset))
            self._consumer.resume([self._at(partition)])
        except KafkaException as error:
            raise SourceError(str(error.args[0])) from error

    def hold(self, partition: int) -> None:
        """Deliver nothing of a partition until it is started again."""
        try:
            self._consumer.pause([self._at(partition)])
        except KafkaException as error:
            # It is no longer assigned, so nothing of it is delivered.
            logger().debug("a partition could not be held", partition=partition, error=str(error))

    def commit(self, partition: int, offset: int, metadata: str) -> None:
        """Commit an offset and wait for the answer; SourceError unless Kafka says that it is done.

        One partition at a time: of several a failing one raises although the others were applied.
        """
        commit = self._committer.commit_in_callback if self._is_in_callback else self._committer.commit
        commit(self._at(partition, offset, metadata))

    def leave(self) -> None:
        """Leave the group."""
        self._consumer.close()

    def _on_revoke(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        assert self._listener is not None  # noqa: S101 -- it joined
        self._committer.settle()
        self._is_in_callback = True
        try:
            self._listener.revoked(numbers(partitions))
        finally:
            self._is_in_callback = False

    def _on_lost(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        # The group is joined again after this, and a commit that is repeated then would be a new member's.
        assert self._listener is not None  # noqa: S101 -- it joined
        self._committer.settle()
        self._listener.lost(numbers(partitions))

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        # Held at once: where each begins is known when it is opened, after this poll.
        held = [self._at(each.partition, OFFSET_BEGINNING) for each in partitions]
        consumer.incremental_assign(held)
        consumer.pause(held)
        assert self._listener is not None  # noqa: S101 -- it joined
        self._listener.assigned(numbers(partitions))

    def _at(self, partition: int, offset: int | None = None, metadata: str = "") -> TopicPartition:
        if offset is None:
            return TopicPartition(self._topic, partition)
        return TopicPartition(self._topic, partition, offset, metadata)


def numbers(partitions: Iterable[TopicPartition]) -> list[int]:
    """Return the numbers of partitions of the one topic."""
    return [each.partition for each in partitions]


def uuid_text(identity: object) -> str:
    """Write a topic's identity as ClickHouse and people write UUIDs; Kafka writes it in base64."""
    high, low = (
        number % 2**64
        for number in (identity.get_most_significant_bits(), identity.get_least_significant_bits())  # type: ignore[attr-defined]  # the client has no types
    )
    text = f"{high:016x}{low:016x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
