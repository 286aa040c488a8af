"""The Kafka producer: it is replaced by a new one when the topic's limit for the size of batches changes."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import TimeoutError as NoAnswerError
from typing import NamedTuple

from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # not re-exported explicitly
    AdminClient,
    ConfigResource,
    ResourceType,
)

from common.logs import logger

# The default of the Kafka client, which is below the default of a topic.
BATCH_BYTES_MAX = 1_000_000
BATCH_BYTES_MIN = 1_000
LIMIT, RETENTION = "max.message.bytes", "retention.ms"
# How often the topic's limits are read.
LIMIT_SECONDS = 60.0
# How long a replaced producer is kept for requests that still use it.
RETIRED_SECONDS = 30.0


class Shape(NamedTuple):
    """What a producer is opened with: the bytes of its batches at most, and its requests in flight to each broker."""

    batch_bytes_max: int
    requests_max: int


class Producers:
    """The current producer, and replaced ones that still wait for delivery reports."""

    def __init__(self, open_producer: Callable[[Shape], Producer]) -> None:
        """`open_producer` opens a producer; the first one has one request in flight."""
        self._open = open_producer
        self.shape = Shape(BATCH_BYTES_MAX, 1)
        self.current = open_producer(self.shape)
        self._retired: list[tuple[Producer, float]] = []
        self._lock = threading.Lock()

    def limit_batches(self, bytes_max: int) -> None:
        """Replace the producer if the largest batch allowed differs from the current one."""
        wanted, before = max(BATCH_BYTES_MIN, min(bytes_max, BATCH_BYTES_MAX)), self.shape.batch_bytes_max
        if wanted != before:
            logger().info("batches for Kafka follow the topic's limit", bytes=wanted, before=before)
            self._replace(self.shape._replace(batch_bytes_max=wanted))

    def allow_requests(self, requests_max: int) -> None:
        """Replace the producer if another number of requests may be in flight to each broker."""
        before = self.shape.requests_max
        if requests_max != before:
            logger().info("requests to Kafka follow its round trips", requests=requests_max, before=before)
            self._replace(self.shape._replace(requests_max=requests_max))

    def _replace(self, shape: Shape) -> None:
        opened = self._open(shape)
        with self._lock:
            self._retired.append((self.current, time.monotonic()))
            self.current, self.shape = opened, shape

    def poll(self) -> int:
        """Process the delivery reports that have arrived, without waiting; return how many records are in flight."""
        current = self.current
        current.poll(0)
        in_flight = len(current)
        if self._retired:
            with self._lock:
                retired = list(self._retired)
            for producer, _ in retired:
                producer.poll(0)
                in_flight += len(producer)
            with self._lock:
                self._retired = [each for each in self._retired if not is_done(*each)]
        return in_flight


def is_done(producer: Producer, retired_at: float) -> bool:
    """Return whether a replaced producer can be dropped."""
    # A request may have read `current` just before the replacement, and use it some time later.
    return not len(producer) and time.monotonic() - retired_at > RETIRED_SECONDS


class TopicLimits(NamedTuple):
    """What the topic's configuration limits: the bytes of a batch, and how long Kafka keeps records."""

    batch_bytes_max: int
    retention_seconds: float


def topic_limits(servers: str, topic: str, seconds_max: float) -> TopicLimits | None:
    """Return the topic's limits, None if Kafka does not answer. Blocks."""
    # A new client each time: a long-lived one keeps connecting to a controller that may be gone.
    client = AdminClient({"bootstrap.servers": servers, "log_level": 2})
    resource = ConfigResource(ResourceType.TOPIC, topic)
    try:
        found = client.describe_configs([resource], request_timeout=seconds_max)[resource].result(seconds_max)
        milliseconds = int(found[RETENTION].value)
        return TopicLimits(int(found[LIMIT].value), math.inf if milliseconds < 0 else milliseconds / 1000)
    except (KafkaException, NoAnswerError, KeyError, ValueError) as error:
        logger().debug("the topic's limits could not be read", error=str(error))
        return None
