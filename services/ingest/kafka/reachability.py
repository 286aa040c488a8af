"""Whether Kafka is reachable and has the topic, and the topic's limits."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from confluent_kafka import KafkaException

from services.ingest.kafka.errors import describe
from services.ingest.kafka.producers import LIMIT_SECONDS, Producers, TopicLimits
from services.ingest.kafka.round_trips import ONE

# Failed checks in a row after which Kafka counts as unreachable.
FAILED_CHECKS_MAX = 2


class UnreachableError(Exception):
    """Kafka does not answer, or does not have the topic."""


class Reachability:
    """The result of the checks, which one thread after the other makes."""

    def __init__(self, producers: Producers, topic: str, read_limits: Callable[[float], TopicLimits | None]) -> None:
        """`read_limits` returns the topic's limits, or None if Kafka does not answer in the given seconds."""
        self._producers = producers
        self._topic = topic
        self._read_limits = read_limits
        self._limits: TopicLimits | None = None
        self._limits_until = 0.0
        self._failed_checks = 0
        # Returns how many requests may be in flight to each broker.
        self.requests: Callable[[], int] = lambda: ONE
        # Why records are not written, empty if they are.
        self.problem = ""

    def check(self, seconds_max: float) -> None:
        """Read the topic's metadata from Kafka; raise UnreachableError without an answer in time. Blocks."""
        try:
            self._read_metadata(seconds_max)
        except UnreachableError as error:
            self._failed_checks += 1
            if self._failed_checks >= FAILED_CHECKS_MAX:
                self.problem = str(error)
            raise
        self._failed_checks, self.problem = 0, ""
        self._producers.allow_requests(self.requests())
        if time.monotonic() >= self._limits_until:
            self._limits_until = time.monotonic() + LIMIT_SECONDS
            if limits := self._read_limits(seconds_max):
                self._limits = limits
                self._producers.limit_batches(limits.batch_bytes_max)

    def read_limits_next(self) -> None:
        """Let the next check read the topic's limits."""
        self._limits_until = 0.0

    def retention_seconds(self) -> Mapping[tuple[str, ...], float]:
        """Return how long Kafka keeps records, as the samples of a metric; none until it was read."""
        return {} if self._limits is None else {(): self._limits.retention_seconds}

    def _read_metadata(self, seconds_max: float) -> None:
        try:
            metadata = self._producers.current.list_topics(self._topic, timeout=seconds_max)
        except KafkaException as error:
            raise UnreachableError(describe(error.args[0])) from error
        if problem := metadata.topics[self._topic].error:
            raise UnreachableError(f"topic {self._topic}: {describe(problem)}")
