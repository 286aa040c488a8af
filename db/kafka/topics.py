"""Creates the topic, never changes it, and reads its identity and its offsets."""

from __future__ import annotations

import base64
import json
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import ConfigEntry, ConfigResource
from confluent_kafka.admin._resource import ResourceType
from confluent_kafka.cimpl import NewTopic

from db.errors import ConflictError, UnavailableError
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


def answers(bootstrap_servers: str) -> bool:
    """Return whether a broker answers a metadata request; for readiness."""
    try:
        return bool(admin(bootstrap_servers).list_topics(timeout=PROBE_SECONDS_MAX).brokers)
    except KafkaException:
        return False


def provision(
    bootstrap_servers: str, topic: str, layout: TopicLayout, warn: Callable[[Difference], None] = lambda _: None
) -> bool:
    """Create the topic and wait until every partition has a leader; return False when it existed already.

    An existing topic is not changed. Raises ConflictError when its settings break the delivery guarantee, and calls
    `warn` with every other difference. Raises UnavailableError when Kafka does not answer.
    """
    client = admin(bootstrap_servers)
    wanted = NewTopic(topic, layout.partitions, layout.replication_factor, config=layout.configuration())
    created = True
    try:
        asked = client.create_topics([wanted], request_timeout=REQUEST_SECONDS_MAX)[topic]
        # The client's own timeout is the first limit; this one is for a client that does not keep it.
        asked.result(2 * REQUEST_SECONDS_MAX)
    except KafkaException as error:
        if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
            raise unavailable(bootstrap_servers, f"did not create topic {topic}", error) from error
        created = False
    except TimeoutError as error:
        raise unavailable(bootstrap_servers, f"did not create topic {topic}", error) from error
    replicas = await_leaders(client, bootstrap_servers, topic)
    existing = ExistingTopic(len(replicas), min(replicas), topic_settings(client, bootstrap_servers, topic))
    breaking = []
    for each in differences(existing, layout):
        if each.breaks:
            breaking.append(f"{each} (to change it: {each.remedy(bootstrap_servers, topic)})")
        else:
            warn(each)
    if breaking:
        raise ConflictError(f"topic {topic} breaks the delivery guarantee: {'; '.join(breaking)}")
    return created


def topic_settings(client: AdminClient, bootstrap_servers: str, topic: str) -> dict[str, str]:
    """Return the settings of a topic, including the brokers' defaults."""
    resource = ConfigResource(ResourceType.TOPIC, topic)
    try:
        asked = client.describe_configs([resource], request_timeout=REQUEST_SECONDS_MAX)[resource]
        entries: dict[str, ConfigEntry] = asked.result(2 * REQUEST_SECONDS_MAX)
    except (KafkaException, TimeoutError) as error:
        raise unavailable(bootstrap_servers, f"did not return the settings of topic {topic}", error) from error
    return {name: entry.value for name, entry in entries.items() if entry.value is not None}


def await_leaders(client: AdminClient, bootstrap_servers: str, topic: str) -> list[int]:
    """Wait until every partition of the topic has a leader; return the number of replicas of each."""
    deadline = time.monotonic() + REQUEST_SECONDS_MAX
    while time.monotonic() < deadline:
        try:
            found = client.list_topics(topic, timeout=PROBE_SECONDS_MAX).topics[topic]
        except KafkaException as error:
            raise unavailable(bootstrap_servers, "does not answer", error) from error
        if not found.error and all(each.leader >= 0 for each in found.partitions.values()):
            return [len(each.replicas) for each in found.partitions.values()]
        time.sleep(POLL_SECONDS)
    raise UnavailableError(f"topic {topic} has partitions without a leader after {REQUEST_SECONDS_MAX:g} s")


def topic_identity(bootstrap_servers: str, topic: str) -> uuid.UUID:
    """Return the id of a topic, by which it differs from an earlier topic of the same name.

    Raises ConflictError when the topic does not exist, UnavailableError when Kafka does not answer.
    """
    # Keep a reference to the client: when it is garbage collected, its requests are cancelled.
    client = admin(bootstrap_servers)
    asked = client.describe_topics(TopicCollection([topic]), request_timeout=REQUEST_SECONDS_MAX)
    try:
        found = asked[topic].result(2 * REQUEST_SECONDS_MAX)
    except KafkaException as error:
        if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise ConflictError(
                f"Kafka at {bootstrap_servers} has no topic {topic}: create it with ugc-migrate, or correct "
                "UGC_KAFKA_TOPIC"
            ) from error
        raise unavailable(bootstrap_servers, "does not answer", error) from error
    except TimeoutError as error:
        raise unavailable(bootstrap_servers, "does not answer", error) from error
    # Kafka encodes it in URL-safe base64 without padding.
    return uuid.UUID(bytes=base64.urlsafe_b64decode(f"{found.topic_id}=="))


def admin(bootstrap_servers: str) -> AdminClient:
    """Return a client that logs nothing, because its callers report all errors."""
    quiet: dict[str, Any] = {"log_level": 0, "error_cb": lambda _error: None}
    return AdminClient({"bootstrap.servers": bootstrap_servers, **quiet})


def unavailable(bootstrap_servers: str, what: str, error: KafkaException | TimeoutError) -> UnavailableError:
    """Return the error for Kafka's failure to do something, with its address and the setting that names it."""
    reason = error.args[0].str() if isinstance(error, KafkaException) else "timed out"
    return UnavailableError(f"Kafka at {bootstrap_servers} (UGC_KAFKA_BOOTSTRAP_SERVERS) {what}: {reason}")


class OffsetReader:
    """Reads the offsets of a topic repeatedly over one connection; it never joins the group."""

    def __init__(self, bootstrap_servers: str, topic: str, group: str) -> None:
        self._servers = bootstrap_servers
        self._topic = topic
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap_servers,
                "group.id": group,
                "enable.auto.commit": False,
                "log_level": 0,
                "error_cb": lambda _error: None,
            }
        )

    def read(self) -> list[PartitionOffsets]:
        """Return the offsets of every partition; raise UnavailableError when Kafka does not answer."""
        try:
            found = self._consumer.list_topics(self._topic, timeout=STATUS_SECONDS_MAX).topics[self._topic]
            asked = [TopicPartition(self._topic, partition) for partition in sorted(found.partitions)]
            return [self._offsets(each) for each in self._committed(asked)]
        except KafkaException as error:
            raise unavailable(self._servers, "does not answer", error) from error

    def written_at(self, partition: int, offset: int) -> float | None:
        """Return the time of the first message at or after an offset, in seconds since the Unix epoch.

        Returns None when no message arrives: the offset may be a transaction marker, or deleted in the meantime.
        """
        try:
            self._consumer.assign([TopicPartition(self._topic, partition, offset)])
            found = self._consumer.consume(1, MESSAGE_SECONDS_MAX)
            self._consumer.unassign()
        except KafkaException as error:
            raise unavailable(self._servers, "does not answer", error) from error
        return next((each.timestamp()[1] / 1_000 for each in found if each.error() is None), None)

    def close(self) -> None:
        """Close the connection."""
        self._consumer.close()

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
