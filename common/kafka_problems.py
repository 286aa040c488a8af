"""Why Kafka does not serve a process: the cause that its client has reported, and the permission that is missing."""

from __future__ import annotations

import time
from collections.abc import Callable

from common.kafka_settings import KafkaSettings

# The client repeats an error at each attempt to connect, once a second; an older one is over, or of another broker.
RECENT_SECONDS = 30.0
# Reported in addition to the cause.
CONSEQUENCES = {"_ALL_BROKERS_DOWN", "_TIMED_OUT", "_TIMED_OUT_QUEUE", "_MSG_TIMED_OUT"}
ALL_DOWN = "_ALL_BROKERS_DOWN"
# Observed: a broker that cannot read what the client sends, such as plain text on a port for TLS, closes the
# connection, and the client reports no other error than that all brokers are down.
CLOSED = "the brokers close the connections: check UGC_KAFKA_SECURITY_PROTOCOL, which is {protocol}"
# A cause that no retry removes. The errors of other brokers, and of a connection that is closed for it, do not hide it.
LASTING = {
    "_AUTHENTICATION": "check UGC_KAFKA_SASL_USERNAME and UGC_KAFKA_SASL_PASSWORD_FILE",
    "SASL_AUTHENTICATION_FAILED": "check UGC_KAFKA_SASL_USERNAME and UGC_KAFKA_SASL_PASSWORD_FILE",
    "UNSUPPORTED_SASL_MECHANISM": "check UGC_KAFKA_SASL_MECHANISM",
    "ILLEGAL_SASL_STATE": "check UGC_KAFKA_SECURITY_PROTOCOL",
    "_SSL": "check UGC_KAFKA_SSL_CA_FILE and UGC_KAFKA_SSL_CERT_FILE",
}
DENIED = "AUTHORIZATION_FAILED"


class KafkaProblem:
    """The latest cause of an outage; changed by the thread that polls a client, read by others."""

    def __init__(self, settings: KafkaSettings | None = None, now: Callable[[], float] = time.monotonic) -> None:
        """Without `settings` an error of the connection is not explained."""
        self._now = now
        self._protocol = "" if settings is None else settings.kafka_security_protocol
        self._has_certificate = settings is not None and settings.kafka_ssl_cert_file is not None
        self._cause = ""
        self._at = float("-inf")
        self._is_lasting = False

    def note(self, name: str, text: str) -> None:
        """Take over an error of the client, by librdkafka's name for it and its text."""
        is_lasting = name in LASTING
        if name == ALL_DOWN and self._protocol and not self.cause():
            name, text = "", CLOSED.format(protocol=self._protocol)
        if name in CONSEQUENCES or (self._is_lasting and not is_lasting and self.cause()):
            return
        self._cause = f"{text} ({self._advice(name)})" if self._advice(name) else text
        self._at, self._is_lasting = self._now(), is_lasting

    def over(self) -> None:
        """Note that Kafka has answered."""
        self._cause, self._is_lasting = "", False

    def cause(self) -> str:
        """Return the cause with what to check; empty if the client has reported none recently."""
        return self._cause if self._now() - self._at < RECENT_SECONDS else ""

    def explain(self, problem: str) -> str:
        """Return a problem with its cause."""
        cause = self.cause()
        return f"{problem}: {cause}" if cause and cause not in problem else problem

    def _advice(self, name: str) -> str:
        if name in LASTING:
            return LASTING[name]
        if name != "_TRANSPORT":
            return ""
        # Observed: a broker that requires a certificate of the client closes the connection after the handshake.
        if "SSL" in self._protocol and not self._has_certificate:
            return "if it repeats: the broker may require a certificate, UGC_KAFKA_SSL_CERT_FILE"
        return ""


def denied(operation: str, resource: str) -> str:
    """Return the text of a permission that Kafka's authorizer denies, as in `WRITE on topic ugc.events`."""
    return f"Kafka denies {operation} on {resource}; grant it to the user of this process"


def is_denied(name: str) -> bool:
    """Whether an error, by librdkafka's name for it, is that of a missing permission."""
    return name.endswith(DENIED)
