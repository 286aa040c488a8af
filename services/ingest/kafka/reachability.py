"""Whether Kafka is reachable, has the topic and accepts records for it, and the topic's limits."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from confluent_kafka import KafkaException

from common.kafka_problems import KafkaProblem, denied, is_denied
from common.logs import logger
from services.ingest.kafka.errors import describe
from services.ingest.kafka.producers import Producers
from services.ingest.kafka.round_trips import ONE
from services.ingest.kafka.topic_limits import TopicAnswer, TopicLimits

# Failed checks in a row after which Kafka counts as unreachable.
FAILED_CHECKS_MAX = 2
# How often the topic's limits and permissions are read, also while the permission to write is missing.
LIMIT_SECONDS, DENIED_SECONDS = 60.0, 5.0
# What clients see of a reason that is the operator's.
REFUSES = "Kafka does not accept events of this server"


class UnreachableError(Exception):
    """Kafka does not answer, does not have the topic, or does not accept records; the text is for the operator.

    `public` is for clients, which must not see names and addresses of brokers and users. No retry soon removes the
    cause of an error that is `lasting`.
    """

    def __init__(self, text: str, public: str = "", *, lasting: bool = False) -> None:
        super().__init__(text)
        self.public = public or text
        self.is_lasting = lasting


class Reachability:
    """The result of the checks, which one thread after the other makes."""

    def __init__(
        self,
        producers: Producers,
        topic: str,
        ask: Callable[[float], TopicAnswer],
        cause: KafkaProblem | None = None,
    ) -> None:
        """`ask` returns what Kafka answers about the topic in the given seconds; `cause` explains an outage."""
        self._producers = producers
        self._topic = topic
        self._ask = ask
        self._cause = cause or KafkaProblem()
        self._limits: TopicLimits | None = None
        self._limits_until = 0.0
        self._may_write = True
        self._missing = ""
        self._failed_checks = 0
        # Returns how many requests may be in flight to each broker.
        self.requests: Callable[[], int] = lambda: ONE
        # Why records are not written, empty if they are.
        self.problem = ""

    def check(self, seconds_max: float) -> None:
        """Read the topic's metadata from Kafka; raise UnreachableError when records would not be accepted. Blocks."""
        try:
            self._read_metadata(seconds_max)
            if time.monotonic() >= self._limits_until:
                self._take(self._ask(seconds_max))
            self._producers.replace_failed()
            self._require_acceptance()
        except UnreachableError as error:
            self._failed_checks += 1
            if error.is_lasting or self._failed_checks >= FAILED_CHECKS_MAX:
                self.problem = error.public
            raise
        self._failed_checks, self.problem = 0, ""
        self._cause.over()
        self._producers.allow_requests(self.requests())

    def read_limits_next(self) -> None:
        """Let the next check read the topic's limits and permissions."""
        self._limits_until = 0.0

    def retention_seconds(self) -> Mapping[tuple[str, ...], float]:
        """Return how long Kafka keeps records, as the samples of a metric; none until it was read."""
        return {} if self._limits is None else {(): self._limits.retention_seconds}

    def _read_metadata(self, seconds_max: float) -> None:
        try:
            metadata = self._producers.current.list_topics(self._topic, timeout=seconds_max)
        except KafkaException as error:
            public = describe(error.args[0])
            raise UnreachableError(self._cause.explain(public), public) from error
        if problem := metadata.topics[self._topic].error:
            public = f"topic {self._topic}: {describe(problem)}"
            if is_denied(problem.name()):
                # Whoever may write may describe too.
                raise UnreachableError(self._denied(), public, lasting=True)
            raise UnreachableError(public, public)

    def _take(self, answer: TopicAnswer) -> None:
        if answer.may_write is not None:
            self._may_write = answer.may_write
        self._limits_until = time.monotonic() + (LIMIT_SECONDS if self._may_write else DENIED_SECONDS)
        if answer.missing and answer.missing != self._missing:
            logger().warning("the topic's limits cannot be read", error=answer.missing)
        self._missing = answer.missing
        if answer.limits:
            self._limits = answer.limits
            self._producers.limit_batches(answer.limits.batch_bytes_max)

    def _require_acceptance(self) -> None:
        if not self._may_write:
            raise UnreachableError(self._denied(), REFUSES, lasting=True)
        if failure := self._producers.failure:
            raise UnreachableError(failure, REFUSES, lasting=True)

    def _denied(self) -> str:
        return denied("WRITE", f"topic {self._topic}")
