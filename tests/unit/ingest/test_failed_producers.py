"""A producer that has failed for good is replaced after a while; until Kafka accepts one, no record is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from common.kafka_settings import KafkaSettings
from services.ingest.kafka.producers import FAILED_SECONDS, Producers, Shape
from services.ingest.kafka.reachability import REFUSES, Reachability, UnreachableError
from services.ingest.kafka.topic_limits import TopicAnswer, ask_about_topic

TOPIC = "ugc.events"
DENIED = "Kafka denies WRITE on topic ugc.events; grant it to the user of this process"


class Metadata:
    """A topic that exists."""

    topics = {TOPIC: type("TopicMetadata", (), {"error": None})}  # noqa: RUF012 -- read only


class FailingProducer:
    """A producer that raises an error at its next poll."""

    def __init__(self, error: KafkaError | None = None) -> None:
        self.error = error

    def poll(self, _seconds: float) -> None:
        error, self.error = self.error, None
        if error is not None:
            raise KafkaException(error)

    def list_topics(self, _topic: str, timeout: float) -> Metadata:
        del timeout
        return Metadata()

    def __len__(self) -> int:
        return 0


class Failing:
    """Producers whose clock and errors the test sets."""

    def __init__(self) -> None:
        self.now = 0.0
        # Raised where a producer would be opened.
        self.error: Exception | None = None
        self.opened: list[FailingProducer] = []
        self.names: list[str] = []
        self.producers = Producers(self._open, TOPIC, self.names.append, lambda: self.now)
        self.answer = TopicAnswer()
        self.reachability = Reachability(self.producers, TOPIC, lambda _seconds: self.answer)

    def _open(self, _shape: Shape) -> Any:
        if self.error is not None:
            raise self.error
        self.opened.append(FailingProducer())
        return self.opened[-1]

    def fail(self, code: int = KafkaError.CLUSTER_AUTHORIZATION_FAILED) -> None:
        self.opened[-1].error = KafkaError(code, "fenced", fatal=True)
        self.producers.poll()

    def problem(self) -> str:
        """Return why a check fails; empty if it succeeds."""
        try:
            self.reachability.check(0.1)
        except UnreachableError as error:
            return str(error)
        return ""


def test_replaced_after_a_while() -> None:
    """The failed producer is replaced once in FAILED_SECONDS, and records are written once Kafka accepts one."""
    failing = Failing()
    assert failing.problem() == ""
    failing.fail()

    assert failing.problem() == DENIED
    assert failing.reachability.problem == REFUSES
    assert failing.names == ["CLUSTER_AUTHORIZATION_FAILED"]
    failing.now = FAILED_SECONDS - 0.1
    assert failing.problem() == DENIED
    assert len(failing.opened) == 1
    # The statistics of the failed producer may arrive late.
    failing.producers.accepted()
    failing.now = FAILED_SECONDS
    assert failing.problem() == DENIED
    assert len(failing.opened) == 2
    failing.fail()
    failing.now += FAILED_SECONDS - 0.1
    assert failing.problem() == DENIED
    assert len(failing.opened) == 2
    failing.now += 0.1
    assert failing.problem() == DENIED
    failing.producers.accepted()
    assert failing.problem() == failing.reachability.problem == ""
    assert len(failing.opened) == 3


def test_another_fatal_error() -> None:
    """An error that is not a missing permission is the reason itself."""
    failing = Failing()
    failing.fail(KafkaError.INVALID_PRODUCER_EPOCH)

    assert failing.problem() == "fenced"
    assert failing.reachability.problem == REFUSES


def test_other_errors_are_raised() -> None:
    """An error that is not fatal leaves the producer in use."""
    failing = Failing()
    failing.opened[-1].error = KafkaError(KafkaError._TRANSPORT, "reset")
    with pytest.raises(KafkaException):
        failing.producers.poll()

    assert failing.problem() == ""


def test_errors_of_replaced_producers_do_not_count() -> None:
    """A replaced producer that fails changes nothing for the current one."""
    failing = Failing()
    failing.producers.replace()
    failing.opened[0].error = KafkaError(KafkaError._FATAL, "fenced", fatal=True)
    failing.producers.poll()

    assert failing.problem() == ""
    assert [id(each) for each in failing.producers.all()] == [id(each) for each in reversed(failing.opened)]


def test_missing_permissions() -> None:
    """Without the permission to write no record is written; without that to read the limits, records are."""
    failing = Failing()
    failing.answer = TopicAnswer(may_write=False)
    assert failing.problem() == DENIED
    assert failing.reachability.problem == REFUSES
    failing.answer = TopicAnswer(may_write=True, missing="Kafka denies DESCRIBE_CONFIGS on topic ugc.events")
    failing.reachability.read_limits_next()

    assert failing.problem() == failing.reachability.problem == ""


UNUSABLE = (
    ValueError("/run/secrets/kafka cannot be read: No such file or directory"),
    KafkaException(KafkaError(KafkaError._INVALID_ARG, "Failed to create producer: ssl.ca.location failed")),
)


@pytest.mark.parametrize("error", UNUSABLE)
def test_files_cannot_be_used_for_a_while(error: Exception) -> None:
    """A failed producer is replaced as soon as the files of passwords and certificates can be used again."""
    failing = Failing()
    failing.fail()
    failing.now, failing.error = FAILED_SECONDS, error
    assert failing.problem() == DENIED
    failing.error = None
    assert failing.problem() == DENIED
    assert len(failing.opened) == 2
    failing.producers.accepted()

    assert failing.problem() == failing.reachability.problem == ""


@pytest.mark.parametrize("error", UNUSABLE)
def test_producer_in_use_needs_no_files(error: Exception) -> None:
    """A connected producer goes on with its shape while no other can be opened, and then gets the wanted one."""
    failing = Failing()
    failing.reachability.requests, failing.error = lambda: 5, error
    assert failing.problem() == failing.reachability.problem == ""
    assert failing.producers.shape.requests_max == 1
    failing.error = None
    assert failing.problem() == ""

    assert failing.producers.shape.requests_max == 5


def test_limits_need_no_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """While a file cannot be used the topic's limits are not read, and the text names the file."""
    monkeypatch.setenv("UGC_KAFKA_SECURITY_PROTOCOL", "SASL_PLAINTEXT")
    monkeypatch.setenv("UGC_KAFKA_SASL_MECHANISM", "PLAIN")
    monkeypatch.setenv("UGC_KAFKA_SASL_USERNAME", "ingest")
    password = tmp_path / "password"
    password.write_text("a-password\n")
    monkeypatch.setenv("UGC_KAFKA_SASL_PASSWORD_FILE", str(password))
    settings = KafkaSettings()
    password.unlink()

    assert ask_about_topic(settings, 0.1) == TopicAnswer(
        missing=f"{password} cannot be read: No such file or directory"
    )
