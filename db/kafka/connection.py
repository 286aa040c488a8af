"""Connects to Kafka for administration, and translates the errors of its client."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from common.kafka_problems import KafkaProblem, denied, is_denied
from common.kafka_settings import KafkaSettings, client_properties, servers_of
from db.errors import DeniedError, StoreError, UnavailableError

# A text is the address of brokers that need no authentication.
Kafka: TypeAlias = KafkaSettings | str


class Connection:
    """The properties of a client that logs nothing, because its caller reports all errors, with their cause."""

    def __init__(self, kafka: Kafka) -> None:
        self._kafka = kafka
        self._problem = KafkaProblem(None if isinstance(kafka, str) else kafka)

    def properties(self, others: Mapping[str, object] | None = None) -> dict[str, Any]:
        """Return the properties of a client; the file of properties may replace some of the others."""
        quiet = {"log_level": 0, "error_cb": self._note}
        return {**quiet, **(others or {}), **client_properties(self._kafka)}

    def failed(self, what: str, error: KafkaException | TimeoutError, operation: str = "", on: str = "") -> StoreError:
        """Return the error for Kafka's failure to do something; an `operation` on a resource may be denied.

        Poll the client first, so that it passes on what it has seen.
        """
        if isinstance(error, KafkaException):
            if operation and is_denied(error.args[0].name()):
                return DeniedError(denied(operation, on))
            reason = self._problem.explain(error.args[0].str())
        else:
            reason = self._problem.explain("timed out")
        return UnavailableError(f"Kafka at {servers_of(self._kafka)} (UGC_KAFKA_BOOTSTRAP_SERVERS) {what}: {reason}")

    def _note(self, error: KafkaError) -> None:
        self._problem.note(error.name(), error.str())


class Administrator(AdminClient):
    """The client for administration. Keep a reference to it: its requests end with it."""

    def __init__(self, kafka: Kafka) -> None:
        self._connection = Connection(kafka)
        super().__init__(self._connection.properties())

    def failed(self, what: str, error: KafkaException | TimeoutError, operation: str = "", on: str = "") -> StoreError:
        """Return the error for Kafka's failure to do something; an `operation` on a resource may be denied."""
        self.poll(0)
        return self._connection.failed(what, error, operation, on)


def admin(kafka: Kafka) -> Administrator:
    """Return a client for administration."""
    return Administrator(kafka)
