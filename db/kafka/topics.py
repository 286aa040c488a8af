"""Creates the topic, never changes it, and reads its identity and its offsets."""

from __future__ import annotations

import base64
import json
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AclOperation  # type: ignore[attr-defined]  # not re-exported explicitly
from confluent_kafka.admin._config import ConfigEntry, ConfigResource
from confluent_kafka.admin._resource import ResourceType
from confluent_kafka.cimpl import NewTopic

from common.kafka_problems import denied, is_denied
from common.kafka_settings import servers_of
from db.errors import ConflictError, DeniedError, StoreError, UnavailableError
from db.kafka.connection import Administrator, Connection, Kafka, admin
from db.kafka.layout import Difference, ExistingTopic, TopicLayout, differences

REQUEST_SECONDS_MAX = 5.0
PROBE_SECONDS_MAX = 1.0
STATUS_SECONDS_MAX = 2.0
MESSAGE_SECONDS_MAX = 5.0
POLL_SECONDS = 0.1
COORDINATOR_SECONDS_MAX = 10.0
COORDINATOR_STARTS = (
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
)
NO_OFFSET = 0
# Kafka cannot return the offsets of a partition that was added a moment ago and has no leader yet.
READ_SECONDS_MAX = 10.0
ERRORS_MAX = 100


@dataclass(frozen=True)
class PartitionOffsets:
    """Offsets of a partition: the first, the one after the last, and the committed one with its metadata."""

    partition: int
    low: int
    high: int
    committed: int
    metadata: str = ""

    @property
    def end(self) -> int:
        """The last offset that may be stored: the end of the plan in the metadata, or the last committed one."""
        try:
            return max(int(json.loads(self.metadata)["end"]), self.committed - 1)
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            # Metadata without a plan: empty, or written by the etl between two plans, or by another program.
            return self.committed - 1

    @property
    def lag(self) -> int:
        """Number of messages that the group has not committed."""
        return self.high - max(self.committed, self.low)


def answers(kafka: Kafka) -> bool:
    """Return whether a broker answers a metadata request; for readiness."""
    try:
        return bool(admin(kafka).list_topics(timeout=PROBE_SECONDS_MAX).brokers)
    except KafkaException:
        return False


def provision(
    kafka: Kafka, topic: str, layout: TopicLayout, warn: Callable[[Difference], None] = lambda _: None
) -> bool:
    """Create the topic and wait until every partition has a leader; return False when it existed already.

    An existing topic is not changed. Raises ConflictError when its settings break the delivery guarantee, and calls
    `warn` with every other difference. Raises UnavailableError when Kafka does not answer.
    """
    client = admin(kafka)
    wanted = NewTopic(topic, layout.partitions, layout.replication_factor, config=layout.configuration())
    created = True
    try:
        asked = client.create_topics([wanted], request_timeout=REQUEST_SECONDS_MAX)[topic]
        # The client's own timeout is the first limit; this one is for a client that does not keep it.
        asked.result(2 * REQUEST_SECONDS_MAX)
    except KafkaException as error:
        if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
            raise client.failed(f"did not create topic {topic}", error, "CREATE", f"topic {topic}") from error
        created = False
    except TimeoutError as error:
        raise client.failed(f"did not create topic {topic}", error) from error
    replicas = await_leaders(client, topic)
    existing = ExistingTopic(len(replicas), min(replicas), topic_settings(client, topic))
    breaking = []
    for each in differences(existing, layout):
        if each.breaks:
            breaking.append(f"{each} (to change it: {each.remedy(servers_of(kafka), topic)})")
        else:
            warn(each)
    if breaking:
        raise ConflictError(f"topic {topic} breaks the delivery guarantee: {'; '.join(breaking)}")
    return created


def topic_settings(client: Administrator, topic: str) -> dict[str, str]:
    """Return the settings of a topic, including the brokers' defaults."""
    resource = ConfigResource(ResourceType.TOPIC, topic)
    try:
        asked = client.describe_configs([resource], request_timeout=REQUEST_SECONDS_MAX)[resource]
        entries: dict[str, ConfigEntry] = asked.result(2 * REQUEST_SECONDS_MAX)
    except (KafkaException, TimeoutError) as error:
        what = f"did not return the settings of topic {topic}"
        raise client.failed(what, error, "DESCRIBE_CONFIGS", f"topic {topic}") from error
    return {name: entry.value for name, entry in entries.items() if entry.value is not None}


def await_leaders(client: Administrator, topic: str) -> list[int]:
    """Wait until every partition of the topic has a leader; return the number of replicas of each."""
    deadline = time.monotonic() + REQUEST_SECONDS_MAX
    while time.monotonic() < deadline:
        try:
            found = client.list_topics(topic, timeout=PROBE_SECONDS_MAX).topics[topic]
        except KafkaException as error:
            raise client.failed("does not answer", error) from error
        if found.error and is_denied(found.error.name()):
            raise DeniedError(denied("DESCRIBE", f"topic {topic}"))
        if not found.error and all(each.leader >= 0 for each in found.partitions.values()):
            return [len(each.replicas) for each in found.partitions.values()]
        time.sleep(POLL_SECONDS)
    raise UnavailableError(f"topic {topic} has partitions without a leader after {REQUEST_SECONDS_MAX:g} s")


def topic_identity(kafka: Kafka, topic: str, needs: str = "") -> uuid.UUID:
    """Return the id of a topic, by which it differs from an earlier topic of the same name.

    Raises ConflictError when the topic does not exist, UnavailableError when Kafka does not answer, and DeniedError
    when the process may not do on the topic what it `needs`, such as READ.
    """
    client = admin(kafka)
    asked = client.describe_topics(
        TopicCollection([topic]), include_authorized_operations=True, request_timeout=REQUEST_SECONDS_MAX
    )
    try:
        found = asked[topic].result(2 * REQUEST_SECONDS_MAX)
    except KafkaException as error:
        if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise ConflictError(
                f"Kafka at {servers_of(kafka)} has no topic {topic}: create it with ugc-migrate, or correct "
                "UGC_KAFKA_TOPIC"
            ) from error
        raise client.failed("does not answer", error, needs or "DESCRIBE", f"topic {topic}") from error
    except TimeoutError as error:
        raise client.failed("does not answer", error) from error
    operations = found.authorized_operations
    if needs and operations is not None and AclOperation[needs] not in operations:
        raise DeniedError(denied(needs, f"topic {topic}"))
    # Kafka encodes it in URL-safe base64 without padding.
    return uuid.UUID(bytes=base64.urlsafe_b64decode(f"{found.topic_id}=="))


class OffsetReader:
    """Reads the offsets of a topic repeatedly over one connection; it never joins the group."""

    def __init__(self, kafka: Kafka, topic: str, group: str) -> None:
        self._topic = topic
        self._group = group
        self._connection = Connection(kafka)
        self._consumer = Consumer(self._connection.properties({"group.id": group, "enable.auto.commit": False}))

    def read(self) -> list[PartitionOffsets]:
        """Return the offsets of every partition; raise UnavailableError when Kafka does not answer."""
        try:
            found = self._consumer.list_topics(self._topic, timeout=STATUS_SECONDS_MAX).topics[self._topic]
            asked = [TopicPartition(self._topic, partition) for partition in sorted(found.partitions)]
            return [self._offsets(each) for each in self._committed(asked)]
        except KafkaException as error:
            raise self._failed(error) from error

    def written_at(self, partition: int, offset: int) -> float | None:
        """Return the time of the first message at or after an offset, in seconds since the Unix epoch.

        Returns None when no message arrives: the offset may be a transaction marker, or deleted in the meantime.
        """
        try:
            self._consumer.assign([TopicPartition(self._topic, partition, offset)])
            found = self._consumer.consume(1, MESSAGE_SECONDS_MAX)
            self._consumer.unassign()
        except KafkaException as error:
            raise self._failed(error) from error
        if any(error is not None and is_denied(error.name()) for error in (each.error() for each in found)):
            raise DeniedError(denied("READ", f"topic {self._topic}"))
        return next((each.timestamp()[1] / 1_000 for each in found if each.error() is None), None)

    def close(self) -> None:
        """Close the connection."""
        self._consumer.close()

    def _failed(self, error: KafkaException) -> StoreError:
        # The client passes on what it has seen when it is polled. A denied request for the group's coordinator times
        # out, and its reason is delivered like a message.
        seen = [each for message in self._consumer.consume(ERRORS_MAX, 0) if (each := message.error()) is not None]
        denials = [each for each in (error.args[0], *seen) if is_denied(each.name())]
        if not denials:
            return self._connection.failed("does not answer", error)
        is_group = "GROUP" in denials[0].name()
        return DeniedError(
            denied("DESCRIBE", f"group {self._group}") if is_group else denied("READ", f"topic {self._topic}")
        )

    def _committed(self, asked: list[TopicPartition]) -> list[TopicPartition]:
        """Return the committed offsets; retry while the group's coordinator starts with its broker."""
        deadline = time.monotonic() + COORDINATOR_SECONDS_MAX
        while True:
            try:
                return list(self._consumer.committed(asked, timeout=STATUS_SECONDS_MAX))
            except KafkaException as error:
                if error.args[0].code() not in COORDINATOR_STARTS or time.monotonic() > deadline:
                    raise
                time.sleep(POLL_SECONDS)

    def _offsets(self, committed: TopicPartition) -> PartitionOffsets:
        low, high = self._consumer.get_watermark_offsets(committed, timeout=STATUS_SECONDS_MAX)
        # The client returns -1001 where nothing was committed.
        offset = max(committed.offset, NO_OFFSET)
        return PartitionOffsets(committed.partition, low, high, offset, committed.metadata or "")


def read_offsets(reader: OffsetReader) -> list[PartitionOffsets]:
    """Return the offsets; retry for some seconds while Kafka cannot return those of a partition."""
    deadline = time.monotonic() + READ_SECONDS_MAX
    while True:
        try:
            return reader.read()
        except UnavailableError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(POLL_SECONDS)
