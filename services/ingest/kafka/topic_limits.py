"""What the topic's configuration and its permissions allow the process."""

from __future__ import annotations

import math
from concurrent.futures import TimeoutError as NoAnswerError
from typing import NamedTuple

from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # not re-exported explicitly
    AclOperation,
    AdminClient,
    ConfigResource,
    ResourceType,
)

from common.kafka_problems import denied, is_denied
from common.kafka_settings import KafkaSettings
from common.logs import logger

LIMIT, RETENTION = "max.message.bytes", "retention.ms"


class TopicLimits(NamedTuple):
    """What the topic's configuration limits: the bytes of a batch, and how long Kafka keeps records."""

    batch_bytes_max: int
    retention_seconds: float


class TopicAnswer(NamedTuple):
    """What Kafka has answered about the topic: None where it has not."""

    limits: TopicLimits | None = None
    may_write: bool | None = None
    # Which permission, or which file, the process lacks to read the limits.
    missing: str = ""


def ask_about_topic(settings: KafkaSettings, seconds_max: float) -> TopicAnswer:
    """Return the topic's limits, and whether the process may write to it. Blocks."""
    try:
        # A new client each time: a long-lived one keeps connecting to a controller that may be gone.
        client = AdminClient({**settings.client_properties(), "log_level": 2})
    except (ValueError, KafkaException) as error:
        # A file of passwords or certificates is being replaced. The producer is connected, and goes on.
        return TopicAnswer(missing=str(error))
    limits, missing = read_limits(client, settings.kafka_topic, seconds_max)
    return TopicAnswer(limits, may_write(client, settings.kafka_topic, seconds_max), missing)


def read_limits(client: AdminClient, topic: str, seconds_max: float) -> tuple[TopicLimits | None, str]:
    """Return the topic's limits, None if Kafka does not answer, and the permission that is missing."""
    resource = ConfigResource(ResourceType.TOPIC, topic)
    try:
        found = client.describe_configs([resource], request_timeout=seconds_max)[resource].result(seconds_max)
        milliseconds = int(found[RETENTION].value)
        retention = math.inf if milliseconds < 0 else milliseconds / 1000
        return TopicLimits(int(found[LIMIT].value), retention), ""
    except (KafkaException, NoAnswerError, KeyError, ValueError) as error:
        if isinstance(error, KafkaException) and is_denied(error.args[0].name()):
            return None, denied("DESCRIBE_CONFIGS", f"topic {topic}")
        logger().debug("the topic's limits could not be read", error=str(error))
        return None, ""


def may_write(client: AdminClient, topic: str, seconds_max: float) -> bool | None:
    """Return whether Kafka's authorizer lets the process write to the topic; None if that is not known."""
    try:
        asked = client.describe_topics(
            TopicCollection([topic]), include_authorized_operations=True, request_timeout=seconds_max
        )
        operations = asked[topic].result(seconds_max).authorized_operations
    except (KafkaException, NoAnswerError) as error:
        logger().debug("the permissions on the topic could not be read", error=str(error))
        return None
    return None if operations is None else AclOperation.WRITE in operations
