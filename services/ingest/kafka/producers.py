"""The producer, whose batches follow the topic's limit: when that changes, another producer takes over."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import TimeoutError as NoAnswerError

from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its parts come from modules of their own
    AdminClient,
    ConfigResource,
    ResourceType,
)

from common.logs import logger

POLL_SECONDS = 0.1
# What Kafka's client and a topic have by default.
BATCH_BYTES_MAX = 1_000_000
BATCH_BYTES_MIN = 1_000
LIMIT = "max.message.bytes"
# How often the topic's limit is read again.
LIMIT_SECONDS = 60.0
RETIRED_SECONDS = 30.0


class Producers:
    """The producer in use, and those that still wait for Kafka's answers."""

    def __init__(self, open_producer: Callable[[int], Producer]) -> None:
        """`open_producer` opens one whose batches have at most so many bytes."""
        self._open = open_producer
        self.batch_bytes_max = BATCH_BYTES_MAX
        self.current = open_producer(BATCH_BYTES_MAX)
        self._retired: list[tuple[Producer, float]] = []
        self._lock = threading.Lock()

    def limit_batches(self, bytes_max: int) -> None:
        """Let batches have at most so many bytes from now on."""
        wanted = max(BATCH_BYTES_MIN, min(bytes_max, BATCH_BYTES_MAX))
        if wanted == self.batch_bytes_max:
            return
        logger().info("batches for Kafka follow the topic's limit", bytes=wanted, before=self.batch_bytes_max)
        opened = self._open(wanted)
        with self._lock:
            self._retired.append((self.current, time.monotonic()))
            self.current, self.batch_bytes_max = opened, wanted

    def poll(self) -> None:
        """Serve delivery reports for a moment."""
        self.current.poll(POLL_SECONDS)
        with self._lock:
            retired = list(self._retired)
        for producer, _ in retired:
            producer.poll(0)
        with self._lock:
            self._retired = [each for each in self._retired if not is_done(*each)]

    def flush(self, seconds_max: float) -> int:
        """Wait until Kafka has answered for everything that was handed over; return what was left."""
        until = time.monotonic() + seconds_max
        with self._lock:
            producers = [*(producer for producer, _ in self._retired), self.current]
        return sum(producer.flush(max(0.0, until - time.monotonic())) for producer in producers)


def is_done(producer: Producer, retired_at: float) -> bool:
    """Whether a producer that is not in use any more waits for nothing."""
    # Whoever took it in hand just before its end is given time to use it.
    return not len(producer) and time.monotonic() - retired_at > RETIRED_SECONDS


def topic_limit(servers: str, topic: str, seconds_max: float) -> int | None:
    """Return the largest batch that a topic takes, in bytes; None when Kafka does not answer that. Blocks."""
    # One for each question: a client that stays keeps asking a controller that may be gone.
    client = AdminClient({"bootstrap.servers": servers, "log_level": 2})
    resource = ConfigResource(ResourceType.TOPIC, topic)
    try:
        found = client.describe_configs([resource], request_timeout=seconds_max)[resource].result(seconds_max)
        return int(found[LIMIT].value)
    except (KafkaException, NoAnswerError, KeyError, ValueError) as error:
        logger().debug("the topic's limit could not be read", error=str(error))
        return None
