"""Adds partitions to the topic, and writes the record of the change into every partition."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.cimpl import NewPartitions

from common.kafka_settings import servers_of
from common.partition_change import PartitionChange
from db.errors import UnavailableError
from db.kafka.connection import Connection, Kafka, admin
from db.kafka.topics import POLL_SECONDS, READ_SECONDS_MAX, REQUEST_SECONDS_MAX, await_leaders

# Kafka's client gives up after the first; the second is for a client that does not.
DELIVERY_SECONDS_MAX, FLUSH_SECONDS_MAX = 30.0, 60.0


class Recorded(NamedTuple):
    """A change as it was recorded: its content, and the offset of the record in each partition."""

    change: PartitionChange
    offsets: Mapping[int, int]


def partition_count(kafka: Kafka, topic: str) -> int:
    """Return the number of partitions of a topic, each of which has a leader."""
    return len(await_leaders(admin(kafka), topic))


def create_partitions(kafka: Kafka, topic: str, count: int) -> None:
    """Let the topic have so many partitions, and wait until each has a leader; UnavailableError if it does not."""
    client = admin(kafka)
    asked = client.create_partitions([NewPartitions(topic, count)], request_timeout=REQUEST_SECONDS_MAX)
    try:
        asked[topic].result(2 * REQUEST_SECONDS_MAX)
    except (KafkaException, TimeoutError) as error:
        raise client.failed(f"did not add partitions to topic {topic}", error, "ALTER", f"topic {topic}") from error
    await_leaders(client, topic)


def record_change(kafka: Kafka, topic: str, topic_id: str, count: int) -> Recorded:
    """Note where the partitions end, then write the record into each; UnavailableError unless all are acknowledged."""
    change = PartitionChange(topic_id, count, tuple(ends_of(kafka, topic, count)))
    producer = Producer(
        Connection(kafka).properties(
            {
                "client.id": "ugc-add-partitions",
                "acks": "all",
                "enable.idempotence": True,
                "message.timeout.ms": round(DELIVERY_SECONDS_MAX * 1_000),
            }
        )
    )
    offsets: dict[int, int] = {}
    errors = dict.fromkeys(range(count), f"not acknowledged within {FLUSH_SECONDS_MAX:g} s")

    def on_delivery(error: KafkaError | None, message: Message, number: int) -> None:
        if error is None:
            offsets[number] = message.offset() or 0
            del errors[number]
        else:
            errors[number] = error.str()

    for number in range(count):
        producer.produce(topic, change.value(), partition=number, on_delivery=partial(on_delivery, number=number))
    try:
        producer.flush(FLUSH_SECONDS_MAX)
    except KafkaException as error:
        # How the client reports that it has failed for good.
        errors.update(dict.fromkeys(errors, error.args[0].str()))
    if errors:
        raise UnavailableError(
            f"Kafka at {servers_of(kafka)} (UGC_KAFKA_BOOTSTRAP_SERVERS) did not acknowledge the record of the change "
            f"in all partitions: {'; '.join(f'partition {number}: {text}' for number, text in errors.items())}. Run "
            "the command again: more than one record in a partition does no harm"
        )
    return Recorded(change, offsets)


def ends_of(kafka: Kafka, topic: str, count: int) -> list[int]:
    """Return the offset after the last message of each partition; retry while one has no leader that is known."""
    connection = Connection(kafka)
    consumer = Consumer(connection.properties({"group.id": "ugc-add-partitions"}))
    deadline = time.monotonic() + READ_SECONDS_MAX
    try:
        while True:
            try:
                return [
                    consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=REQUEST_SECONDS_MAX)[1]
                    for number in range(count)
                ]
            except KafkaException as error:
                if time.monotonic() >= deadline:
                    what = "did not return where the partitions end"
                    raise connection.failed(what, error, "DESCRIBE", f"topic {topic}") from error
                time.sleep(POLL_SECONDS)
    finally:
        consumer.close()
