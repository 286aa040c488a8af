"""A consumed topic, made without an etl: messages in Kafka, their rows in ClickHouse, and the group's commits."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass

from confluent_kafka import Consumer, Producer, TopicPartition

from db.clickhouse.client import ClickHouse
from db.kafka.topics import topic_identity
from db.settings import AuditSettings

PRODUCE_SECONDS_MAX = 30
USER = uuid.UUID(int=7)
# By default the event_id of offset n is n, and all events are of one user.
EVENTS = """
INSERT INTO events
SELECT toUUID(UUIDNumToString(toFixedString(unhex(leftPad(hex(%(identity)s + number), 32, '0')), 16))), 'like',
    generateUUIDv4(), %(user)s, '', now64(3), 'RU', 'Europe/Moscow', '', '1.0', '', now64(3), %(topic_id)s,
    %(partition)s, %(first)s + number
FROM numbers(%(count)s)
"""
REJECTED = """
INSERT INTO rejected_events (reason, error, raw, kafka_time, kafka_topic_id, kafka_partition, kafka_offset)
SELECT 'undecodable', 'no event', 'x', now64(3), %(topic_id)s, %(partition)s, %(first)s + number FROM numbers(%(count)s)
"""


@dataclass
class Consumed:
    """The topic of one test, its tables and its group."""

    kafka: str
    topic: str
    database: str
    tables: ClickHouse

    @property
    def group(self) -> str:
        return f"group-{self.topic}"

    @property
    def topic_id(self) -> uuid.UUID:
        return topic_identity(self.kafka, self.topic)

    @property
    def settings(self) -> AuditSettings:
        return AuditSettings(
            kafka_bootstrap_servers=self.kafka,
            kafka_topic=self.topic,
            clickhouse_url=self.database,
            etl_group=self.group,
            etl_duplicate_window=100,
        )

    def produce(self, partition: int, values: Iterable[bytes], seconds_ago: float = 0.0) -> None:
        """Write messages with a timestamp in the past, and wait for their acknowledgement."""
        failures: list[object] = []
        producer = Producer({"bootstrap.servers": self.kafka, "queue.buffering.max.messages": 1_000_000})
        for value in values:
            producer.poll(0)
            producer.produce(
                self.topic,
                value,
                partition=partition,
                timestamp=round((time.time() - seconds_ago) * 1_000),
                on_delivery=lambda error, _: failures.append(error),
            )
        assert producer.flush(PRODUCE_SECONDS_MAX) == 0
        assert set(failures) == {None}

    def store(
        self, partition: int, first: int, count: int, identity: int | None = None, user: uuid.UUID = USER
    ) -> None:
        """Insert rows of `events` for the offsets from `first` on."""
        base = first + partition * 1_000_000_000 if identity is None else identity
        parameters = self._coordinates(partition) | {"first": first, "count": count, "identity": base, "user": user}
        self.tables.rows(EVENTS, parameters)

    def reject(self, partition: int, first: int, count: int = 1) -> None:
        """Insert rows of `rejected_events`."""
        self.tables.rows(REJECTED, self._coordinates(partition) | {"first": first, "count": count})

    def delete(self, partition: int, offset: int) -> None:
        """Delete an event, which no process of the product does."""
        self.tables.rows(
            "DELETE FROM events WHERE kafka_topic_id = %(topic_id)s AND kafka_partition = %(partition)s"
            " AND kafka_offset = %(offset)s SETTINGS lightweight_deletes_sync = 2",
            self._coordinates(partition) | {"offset": offset},
        )

    def commit(self, partition: int, offset: int, metadata: str = "") -> None:
        """Commit an offset with metadata for the group, as the etl does."""
        consumer = Consumer({"bootstrap.servers": self.kafka, "group.id": self.group})
        consumer.commit(offsets=[TopicPartition(self.topic, partition, offset, metadata)], asynchronous=False)
        consumer.close()

    def _coordinates(self, partition: int) -> dict[str, object]:
        return {"topic_id": self.topic_id, "partition": partition}
