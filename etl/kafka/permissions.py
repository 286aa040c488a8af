"""Asks Kafka's authorizer whether the process may do what it needs, and names what is missing.

Without the permission to read the group, Kafka's client fails for good as soon as it joins.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NoAnswerError
from typing import Any

from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import AclOperation, AdminClient  # type: ignore[attr-defined]  # not re-exported explicitly

from common.kafka_problems import denied, is_denied
from common.logs import logger
from common.outage_log import OutageLog

# How often is asked while everything is permitted, and while something is missing.
CHECK_SECONDS, MISSING_SECONDS = 10.0, 1.0
# What the name of an error begins with that is the client's own: no broker has answered.
LOCAL = "_"


class DeniedError(Exception):
    """Kafka's authorizer denies an operation."""


class Permissions:
    """What the process lacks, as of the last check; one thread checks, others read."""

    def __init__(
        self,
        admin: AdminClient,
        topic: str,
        group: str,
        seconds_max: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._admin = admin
        self._topic = topic
        self._group = group
        self._seconds_max = seconds_max
        self._monotonic = monotonic
        self._due = float("-inf")
        self._outage = OutageLog("reading as a member of the group")
        # Which operation on which resource is denied; empty if none is, or Kafka has not answered.
        self.missing = ""
        self.is_known = False
        # Whether everything was permitted when the process joined.
        self._is_granted = False

    def await_granted(self, stop: threading.Event, turn: Callable[[], None]) -> None:
        """Return once Kafka has answered that everything is permitted, or `stop` is set; log once what is missing.

        `turn` is called each time.
        """
        while not stop.is_set():
            turn()
            self.check()
            if self.is_known and not self.missing:
                self._is_granted = True
                return
            stop.wait(MISSING_SECONDS)

    def check(self) -> None:
        """Ask Kafka, unless that was done a moment ago; without an answer the last one stays."""
        if self._monotonic() < self._due:
            return
        self._due = self._monotonic() + MISSING_SECONDS
        try:
            missing = self._ask()
        except (KafkaException, NoAnswerError) as error:
            # The consumer logs an outage.
            logger().debug("Kafka does not answer what is permitted", error=str(error))
            return
        self.missing, self.is_known = missing, True
        if missing:
            self._outage.failed(DeniedError(missing))
            return
        self._outage.over()
        self._due = self._monotonic() + CHECK_SECONDS

    def _ask(self) -> str:
        """Return what is denied: first on the topic, then on the group."""
        described: dict[str, Any] = {"request_timeout": self._seconds_max, "include_authorized_operations": True}
        topics = self._admin.describe_topics(TopicCollection([self._topic]), **described)
        missing = self._denied(f"topic {self._topic}", topics[self._topic])
        if missing or self._is_granted:
            return missing
        # After the topic's answer, and before the process joins only: a request to the group's coordinator ends the
        # whole process if the broker stops answering then (librdkafka's issue 4605).
        groups = self._admin.describe_consumer_groups([self._group], **described)
        return self._denied(f"group {self._group}", groups[self._group])

    def _denied(self, resource: str, asked: Future[Any]) -> str:
        """Return what an answer shows as denied."""
        try:
            operations = asked.result(2 * self._seconds_max).authorized_operations
        except KafkaException as error:
            name = error.args[0].name()
            if name.startswith(LOCAL):
                raise
            # Whoever may read may describe too. What else is wrong shows when the process joins the group.
            operations = [] if is_denied(name) else None
        return denied("READ", resource) if operations is not None and AclOperation.READ not in operations else ""
