"""The Kafka producer: replaced by a new one when the topic's limit for batches changes, and when it has failed."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from confluent_kafka import KafkaError, KafkaException, Producer

from common.kafka_problems import KafkaProblem, denied, is_denied
from common.kafka_settings import KafkaSettings
from common.logs import logger
from common.outage_log import OutageLog
from services.ingest.kafka.configuration import REQUESTS
from services.ingest.metrics import ProducerMetrics

# The default of the Kafka client, which is below the default of a topic.
BATCH_BYTES_MAX = 1_000_000
BATCH_BYTES_MIN = 1_000
# How long a replaced producer is kept for requests that still use it.
RETIRED_SECONDS = 30.0
# How long a producer that has failed stays before it is replaced: what made it fail often takes an operator.
FAILED_SECONDS = 5.0
# The state of an idempotent producer that Kafka has accepted.
ACCEPTED = "Assigned"
# Otherwise the client writes a line of its own about a fatal error, which it raises too.
SILENT = logging.getLogger("librdkafka")
SILENT.setLevel(logging.CRITICAL + 1)


class Shape(NamedTuple):
    """What a producer is opened with: the bytes of its batches at most, and its requests in flight to each broker."""

    batch_bytes_max: int
    requests_max: int


class Producers:
    """The current producer, and replaced ones that still wait for delivery reports."""

    def __init__(
        self,
        open_producer: Callable[[Shape], Producer],
        topic: str = "",
        on_fatal: Callable[[str], None] = lambda _name: None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`open_producer` opens a producer; the first one has one request in flight.

        `on_fatal` gets the name of an error for which a producer takes no record any more.
        """
        self._open = open_producer
        self._topic = topic
        self._on_fatal = on_fatal
        self._monotonic = monotonic
        self.shape = Shape(BATCH_BYTES_MAX, 1)
        # Why Kafka accepts no record of the process, from a fatal error until a later producer is accepted.
        self.failure = ""
        self._failed_at: float | None = None
        self._outage = OutageLog("opening a Kafka producer")
        self._retired: list[tuple[Producer, float]] = []
        self._lock = threading.Lock()
        self.current = open_producer(self.shape)

    def limit_batches(self, bytes_max: int) -> None:
        """Replace the producer if the largest batch allowed differs from the current one."""
        wanted, before = max(BATCH_BYTES_MIN, min(bytes_max, BATCH_BYTES_MAX)), self.shape.batch_bytes_max
        if wanted != before and self.replace(self.shape._replace(batch_bytes_max=wanted)):
            logger().info("batches for Kafka follow the topic's limit", bytes=wanted, before=before)

    def allow_requests(self, requests_max: int) -> None:
        """Replace the producer if another number of requests may be in flight to each broker."""
        before = self.shape.requests_max
        if requests_max != before and self.replace(self.shape._replace(requests_max=requests_max)):
            logger().info("requests to Kafka follow its round trips", requests=requests_max, before=before)

    def replace(self, shape: Shape | None = None) -> bool:
        """Open another producer, which connects anew; the current one still delivers what it has.

        Return False, and keep the current one, while none can be opened.
        """
        wanted = shape or self.shape
        try:
            opened = self._open(wanted)
        except (ValueError, KafkaException) as error:
            # A file of passwords or certificates is being replaced: a later check tries again.
            self._outage.failed(error)
            return False
        self._outage.over()
        with self._lock:
            self._retired.append((self.current, self._monotonic()))
            # Before the new one is polled, so that its own failure counts.
            self._failed_at = None
            self.current, self.shape = opened, wanted
        return True

    def accepted(self) -> None:
        """Note that Kafka has accepted the current producer."""
        if self._failed_at is None:
            self.failure = ""

    def replace_failed(self) -> None:
        """Replace the current producer some time after it has failed."""
        if self._failed_at is not None and self._monotonic() - self._failed_at >= FAILED_SECONDS:
            self.replace()

    def all(self) -> list[Producer]:
        """Return the current producer and those that it has replaced."""
        with self._lock:
            return [self.current, *(producer for producer, _ in self._retired)]

    def poll(self) -> int:
        """Process the delivery reports that have arrived, without waiting; return how many records are in flight."""
        current = self.current
        try:
            current.poll(0)
        except KafkaException as error:
            # Observed: the client raises a fatal error, once, instead of passing it to `error_cb`.
            self._failed(error.args[0])
        in_flight = len(current)
        if self._retired:
            with self._lock:
                retired = list(self._retired)
            for producer, _ in retired:
                with contextlib.suppress(KafkaException):
                    producer.poll(0)
                in_flight += len(producer)
            with self._lock:
                self._retired = [each for each in self._retired if not is_done(*each, self._monotonic())]
        return in_flight

    def _failed(self, error: KafkaError) -> None:
        if not error.fatal():
            raise KafkaException(error)
        self._on_fatal(error.name())
        self.failure, self._failed_at = self._describe(error), self._monotonic()

    def _describe(self, error: KafkaError) -> str:
        return denied("WRITE", f"topic {self._topic}") if is_denied(error.name()) else error.str()


def is_done(producer: Producer, retired_at: float, now: float) -> bool:
    """Return whether a replaced producer can be dropped."""
    # A request may have read `current` just before the replacement, and use it some time later.
    return not len(producer) and now - retired_at > RETIRED_SECONDS


def open_producers(
    configuration: Mapping[str, object], settings: KafkaSettings, metrics: ProducerMetrics, problem: KafkaProblem
) -> Producers:
    """Open the first producer; each takes the security settings as they are when it is opened."""

    def report(error: KafkaError) -> None:
        metrics.error(error.name())
        problem.note(error.name(), error.str())

    def open_producer(shape: Shape) -> Producer:
        # The file of properties may replace some of the others.
        given = {**configuration, **settings.client_properties()}
        given |= {"batch.size": shape.batch_bytes_max, REQUESTS: shape.requests_max}
        return Producer({**given, "error_cb": report, "stats_cb": metrics.statistics_of_next(), "logger": SILENT})

    return Producers(open_producer, settings.kafka_topic, metrics.error)
