"""Reads the topic as a member of the consumer group, and commits offsets."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import cast

from confluent_kafka import Consumer, KafkaException, TopicPartition

from etl.errors import SourceError
from etl.message import Message
from etl.settings import EtlSettings
from services.runtime.logs import Outage, logger

# Longer than the longest insert with its retries between two polls.
POLL_INTERVAL_SECONDS_MAX = 600


@contextlib.contextmanager
def subscribed(settings: EtlSettings, on_gone: Callable[[Iterable[int]], None]) -> Iterator[KafkaSource]:
    """Join the group; leave it on the way out. `on_gone` hears which partitions are no longer ours, inside a poll."""
    outage = Outage("reaching Kafka")
    consumer = Consumer(
        {
            "bootstrap.servers": settings.kafka_bootstrap_servers,
            "client.id": "ugc-etl",
            "group.id": settings.etl_group,
            # KIP-848: joins in a fraction of a second, revokes single partitions, notices a recreated topic.
            "group.protocol": "consumer",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "earliest",
            "max.poll.interval.ms": POLL_INTERVAL_SECONDS_MAX * 1000,
            "queued.max.messages.kbytes": settings.etl_fetch_kilobytes_max,
            "fetch.wait.max.ms": 100,
            "reconnect.backoff.max.ms": 1000,
            "topic.metadata.refresh.interval.ms": 10_000,
            "log_level": 3,
            "error_cb": lambda error: outage.failed(KafkaException(error)),
        }
    )
    source = KafkaSource(consumer, outage, on_gone)
    consumer.subscribe([settings.kafka_topic], on_assign=source.assigned, on_revoke=source.gone, on_lost=source.gone)
    try:
        yield source
    finally:
        consumer.close()


class KafkaSource:
    """The partitions that are ours, known from the group's callbacks alone."""

    def __init__(self, consumer: Consumer, outage: Outage, on_gone: Callable[[Iterable[int]], None]) -> None:
        self._consumer = consumer
        self._outage = outage
        self._on_gone = on_gone
        self._topic = ""
        self._early: list[Message] = []
        self.owned: set[int] = set()

    def poll(self, count: int, seconds: float) -> list[Message]:
        """Return up to `count` messages of our partitions, waiting at most `seconds` for them."""
        early, self._early = self._early, []
        return early or self._consume(count, seconds)

    def idle(self, seconds: float) -> None:
        """Stay a member of the group for a while without taking messages; partitions may come and go."""
        ours = [TopicPartition(self._topic, partition) for partition in self.owned]
        self._consumer.pause(ours)
        # A partition that is assigned meanwhile is not paused: its message waits for the next poll.
        self._early += self._consume(1, seconds)
        self._consumer.resume([each for each in ours if each.partition in self.owned])

    def _consume(self, count: int, seconds: float) -> list[Message]:
        taken = self._consumer.consume(count, seconds)
        good = [message for message in taken if message.error() is None]
        if good:
            self._outage.over()
        for message in taken if len(good) != len(taken) else ():
            if error := message.error():
                self._outage.failed(KafkaException(error))
        return cast("list[Message]", good)

    def commit(self, partition: int, offset: int) -> None:
        """Say that everything before `offset` is stored; SourceError when Kafka does not acknowledge it."""
        try:
            answers = self._consumer.commit(
                offsets=[TopicPartition(self._topic, partition, offset)], asynchronous=False
            )
        except KafkaException as error:
            raise SourceError(str(error.args[0])) from error
        for answer in answers or ():
            if answer.error:
                raise SourceError(str(answer.error))

    def assigned(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Take partitions into our set; called inside poll."""
        for each in partitions:
            self._topic = each.topic
            self.owned.add(each.partition)
        logger().info("partitions assigned", partitions=sorted(self.owned))

    def gone(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Drop partitions that were revoked or lost; called inside poll."""
        numbers = {each.partition for each in partitions}
        self.owned -= numbers
        self._early = [message for message in self._early if message.partition() not in numbers]
        self._on_gone(numbers)
        logger().info("partitions gone", gone=sorted(numbers), partitions=sorted(self.owned))
