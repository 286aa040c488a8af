"""What the etl asks Kafka about its permissions: never the group's coordinator once the process has joined."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AclOperation  # type: ignore[attr-defined]  # not re-exported explicitly

from etl.kafka.permissions import CHECK_SECONDS, Permissions

TOPIC, GROUP = "topic", "group"
GRANTED = [AclOperation.READ, AclOperation.DESCRIBE]


class Authorizer:
    """An admin client whose broker answers what the test wants, or does not answer."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.topic: Any = GRANTED
        self.group: Any = GRANTED
        self.now = 0.0
        self.permissions = Permissions(self, TOPIC, GROUP, 1.0, lambda: self.now)  # type: ignore[arg-type]  # a stand-in for the admin client

    def describe_topics(self, _topics: object, **_options: Any) -> dict[str, Future[Any]]:
        self.asked.append(TOPIC)
        return {TOPIC: answer(self.topic)}

    def describe_consumer_groups(self, _groups: list[str], **_options: Any) -> dict[str, Future[Any]]:
        self.asked.append(GROUP)
        return {GROUP: answer(self.group)}


def answer(given: Any) -> Future[Any]:
    """Return the permitted operations, or an error."""
    future: Future[Any] = Future()
    if isinstance(given, int):
        future.set_exception(KafkaException(KafkaError(given)))
    else:
        future.set_result(SimpleNamespace(authorized_operations=given))
    return future


def test_group_is_asked_before_joining_only() -> None:
    """A request to a coordinator that stops answering ends the process, so a member sends none."""
    authorizer = Authorizer()
    authorizer.permissions.await_granted(threading.Event(), lambda: None)
    assert authorizer.asked == [TOPIC, GROUP]
    for _ in range(5):
        authorizer.now += CHECK_SECONDS
        authorizer.permissions.check()

    assert authorizer.asked == [TOPIC, GROUP, *5 * [TOPIC]]


def test_group_is_not_asked_without_an_answer() -> None:
    """A broker that does not answer about the topic is not asked about the group."""
    authorizer = Authorizer()
    authorizer.topic = KafkaError._TIMED_OUT
    authorizer.permissions.check()

    assert (authorizer.asked, authorizer.permissions.is_known) == ([TOPIC], False)


@pytest.mark.parametrize(
    ("topic", "group", "missing"),
    [
        (GRANTED, GRANTED, ""),
        ([AclOperation.DESCRIBE], GRANTED, f"READ on topic {TOPIC}"),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, GRANTED, f"READ on topic {TOPIC}"),
        (GRANTED, [AclOperation.DESCRIBE], f"READ on group {GROUP}"),
        (GRANTED, KafkaError.GROUP_AUTHORIZATION_FAILED, f"READ on group {GROUP}"),
        # Another error is not a denial.
        (GRANTED, KafkaError.COORDINATOR_NOT_AVAILABLE, ""),
    ],
)
def test_what_is_missing(topic: Any, group: Any, missing: str) -> None:
    """The missing operation and its resource are named, of the topic first."""
    authorizer = Authorizer()
    authorizer.topic, authorizer.group = topic, group
    authorizer.permissions.check()

    assert missing in authorizer.permissions.missing
    assert bool(authorizer.permissions.missing) == bool(missing)
