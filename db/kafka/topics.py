"""The topic: made once, never silently changed; its identity; and its offsets for the status line and the audit."""

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
from db.kafka.layout import Difference, Existing, TopicLayout, differences

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


@dataclass(frozen=True)
class PartitionOffsets:
    """The first offset, the one after the last, and the group's committed one with what was committed beside it."""

    partition: int
    low: int
    high: int
    committed: int
    metadata: str = ""

    @property
    def end(self) -> int:
        """The last offset that may be stored: of the plan in the metadata, or the last committed one."""
        try:
            return max(int(json.loads(self.metadata)["end"]), self.committed - 1)
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            # Nothing is planned: the etl's own note without a plan, or none, or what somebody else wrote.
            return self.committed - 1

    @property
    def lag(self) -> int:
        """Messages that the group has not committed."""
        return self.high - max(self.committed, self.low)


def answers(bootstrap_servers: str) -> bool:
    """Whether a broker answers a request for metadata; for readiness."""
    try:
        return bool(admin(bootstrap_servers).list_topics(timeout=PROBE_SECONDS_MAX).brokers)
    except KafkaException:
        return False


def provision(
    bootstrap_servers: str, topic: str, layout: TopicLayout, warn: Callable[[Difference], None] = lambda _: None
) -> bool:
    """Make the topic and wait until every partition has a leader; False when it was there already.

    A topic that is there is left as it is: ConflictError when that breaks the delivery guarantee, `warn` is called with
    everything else that differs. UnavailableError when Kafka does not answer.
    """
    client = admin(bootstrap_servers)
    wanted = NewTopic(topic, layout.partitions, layout.replication_factor, config=layout.configuration())
    created = True
    try:
        asked = client.create_topics([wanted], request_timeout=REQUEST_SECONDS_MAX)[topic]
        # The client's own limit comes first; this one is for a client that forgets it.
        asked.result(2 * REQUEST_SECONDS_MAX)
    except KafkaException as error:
        if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
            raise UnavailableError(f"Kafka did not create topic {topic}: {error.args[0].str()}") from error
        created = False
    except TimeoutError as error:
        raise UnavailableError(f"Kafka did not create topic {topic} in time") from error
    replicas = await_leaders(client, topic)
    found = Existing(len(replicas), min(replicas), topic_settings(client, topic))
    breaking = []
    for each in differences(found, layout):
        if each.breaks:
            breaking.append(f"{each} (to change it: {each.cure(bootstrap_servers, topic)})")
        else:
            warn(each)
    if breaking:
        raise ConflictError(f"topic {topic} is not as the delivery guarantee needs it: {'; '.join(breaking)}")
    return created


def topic_settings(client: AdminClient, topic: str) -> dict[str, str]:
    """Return the settings of a topic, those that it has from its brokers included."""
    resource = ConfigResource(ResourceType.TOPIC, topic)
    try:
        asked = client.describe_configs([resource], request_timeout=REQUEST_SECONDS_MAX)[resource]
        entries: dict[str, ConfigEntry] = asked.result(2 * REQUEST_SECONDS_MAX)
    except KafkaException as error:
        raise UnavailableError(f"Kafka does not show the settings of {topic}: {error.args[0].str()}") from error
    except TimeoutError as error:
        raise UnavailableError(f"Kafka does not show the settings of {topic} in time") from error
    return {name: entry.value for name, entry in entries.items() if entry.value is not None}


def await_leaders(client: AdminClient, topic: str) -> list[int]:
    """Wait until the topic's partitions can be written to; return the number of replicas of each."""
    deadline = time.monotonic() + REQUEST_SECONDS_MAX
    while time.monotonic() < deadline:
        try:
            found = client.list_topics(topic, timeout=PROBE_SECONDS_MAX).topics[topic]
        except KafkaException as error:
            raise UnavailableError(f"Kafka does not answer: {error.args[0].str()}") from error
        if not found.error and all(each.leader >= 0 for each in found.partitions.values()):
            return [len(each.replicas) for each in found.partitions.values()]
        time.sleep(POLL_SECONDS)
    raise UnavailableError(f"topic {topic} has partitions without a leader after {REQUEST_SECONDS_MAX:g} s")


def topic_identity(bootstrap_servers: str, topic: str) -> uuid.UUID:
    """Return what tells a topic from an earlier one of that name.

    ConflictError when there is no such topic, UnavailableError when Kafka does not answer.
    """
    # Held until the answer is there: a client that is collected ends what it was asked.
    client = admin(bootstrap_servers)
    asked = client.describe_topics(TopicCollection([topic]), request_timeout=REQUEST_SECONDS_MAX)
    try:
        found = asked[topic].result(2 * REQUEST_SECONDS_MAX)
    except KafkaException as error:
        if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise ConflictError(f"Kafka has no topic {topic}") from error
        raise UnavailableError(f"Kafka does not answer: {error.args[0].str()}") from error
    # Kafka writes it in URL-safe base64 without padding.
    return uuid.UUID(bytes=base64.urlsafe_b64decode(f"{found.topic_id}=="))


def admin(bootstrap_servers: str) -> AdminClient:
    """Make a client that keeps its complaints to itself: the callers report."""
    quiet: dict[str, Any] = {"log_level": 0, "error_cb": lambda _error: None}
    return AdminClient({"bootstrap.servers": bootstrap_servers, **quiet})


class OffsetReader:
    """Reads a topic's offsets again and again over one connection; it never joins the group."""

    def __init__(self, bootstrap_servers: str, topic: str, group: str) -> None:
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
        """Return the offsets of every partition; UnavailableError when Kafka does not answer."""
        try:
            found = self._consumer.list_topics(self._topic, timeout=STATUS_SECONDS_MAX).topics[self._topic]
            asked = [TopicPartition(self._topic, partition) for partition in sorted(found.partitions)]
            return [self._offsets(each) for each in self._committed(asked)]
        except KafkaException as error:
            raise UnavailableError(f"Kafka does not answer: {error.args[0].str()}") from error

    def written_at(self, partition: int, offset: int) -> float | None:
        """Return when the first message from an offset on was written, in seconds since the Unix epoch.

        None when none comes: it may be a transaction's marker, or gone meanwhile.
        """
        try:
            self._consumer.assign([TopicPartition(self._topic, partition, offset)])
            found = self._consumer.consume(1, MESSAGE_SECONDS_MAX)
            self._consumer.unassign()
        except KafkaException as error:
            raise UnavailableError(f"Kafka does not answer: {error.args[0].str()}") from error
        return next((each.timestamp()[1] / 1_000 for each in found if each.error() is None), None)

    def close(self) -> None:
        """Close the connection."""
        self._consumer.close()

    def _committed(self, asked: list[TopicPartition]) -> list[TopicPartition]:
        """Ask the group's coordinator, which is not ready at once when its broker has just started."""
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
        # Kafka says -1001 where nothing was committed.
        offset = max(committed.offset, NO_OFFSET)
        return PartitionOffsets(committed.partition, low, high, offset, committed.metadata or "")
