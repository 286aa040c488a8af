"""How the source handles what Kafka's client returns."""

from __future__ import annotations

import time
from typing import Any, cast

import pytest
from confluent_kafka import Consumer, KafkaError
from confluent_kafka.admin import AdminClient

from common.outage_log import OutageLog
from etl.errors import ConsumerLostError
from etl.kafka.source import CONSUMED_MESSAGES_MAX, POLL_BYTES_MAX, KafkaSource
from local.processes.ports import free_port

WAIT_SECONDS_MAX = 60


class FailingMessage:
    """A message that is an error."""

    def __init__(self, code: int) -> None:
        self.code = code

    def error(self) -> KafkaError:
        return KafkaError(self.code)

    def partition(self) -> None:
        return None

    def __len__(self) -> int:
        return 0


class FailingConsumer:
    """A consumer that returns one error."""

    def __init__(self, code: int) -> None:
        self.code = code

    def consume(self, _count: int, _seconds: float) -> list[FailingMessage]:
        return [FailingMessage(self.code)]


def source(code: int, admin: AdminClient | None = None) -> KafkaSource:
    """Return a source whose client returns an error."""
    consumer = cast("Consumer", FailingConsumer(code))
    # A client without queued events is falsy.
    admin = AdminClient({}) if admin is None else admin
    return KafkaSource(consumer, admin, "events", 1.0, OutageLog("reaching Kafka"))


def test_a_client_that_gave_up_ends_the_process() -> None:
    """After a fatal error the client delivers nothing any more, so the process ends."""
    with pytest.raises(ConsumerLostError, match="gave up"):
        source(KafkaError._FATAL).poll(10, 0.0)


def test_another_error_is_an_outage() -> None:
    """Other errors do not end the process."""
    assert source(KafkaError._ALL_BROKERS_DOWN).poll(10, 0.0) == []


def test_errors_of_the_admin_client_are_polled() -> None:
    """Each poll also takes the queued errors of the admin client, so that they do not accumulate."""
    errors: list[KafkaError] = []
    address = f"127.0.0.1:{free_port()}"
    settings: dict[str, Any] = {"bootstrap.servers": address, "log_level": 2, "error_cb": errors.append}
    admin = AdminClient(settings)
    polled = source(KafkaError._ALL_BROKERS_DOWN, admin)
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while not errors and time.monotonic() < deadline:
        polled.poll(10, 0.0)
        time.sleep(0.1)

    assert errors


class LargeMessage:
    """A message of a size."""

    def __init__(self, size: int) -> None:
        self.size = size

    def error(self) -> None:
        return None

    def __len__(self) -> int:
        return self.size


class EndlessConsumer:
    """A consumer that has a number of messages, and returns as many as requested."""

    def __init__(self, size: int, left: int = 1_000_000) -> None:
        self.size = size
        self.left = left
        self.calls: list[int] = []

    def consume(self, count: int, seconds: float) -> list[LargeMessage]:
        assert seconds >= 0
        self.calls.append(count)
        given = min(count, self.left)
        self.left -= given
        return [LargeMessage(self.size)] * given


@pytest.mark.parametrize("size", [0, 200, 65_536, 1_000_000])
def test_polls_are_bounded_in_bytes(size: int) -> None:
    """A poll returns as many messages as requested, or fewer if their bytes reach a limit."""
    consumer = EndlessConsumer(size)
    source = KafkaSource(cast("Consumer", consumer), AdminClient({}), "events", 1.0, OutageLog("reaching Kafka"))
    taken = source.poll(50_000, 0.1)

    assert sum(map(len, taken)) <= POLL_BYTES_MAX + CONSUMED_MESSAGES_MAX * size
    assert len(taken) == 50_000 or sum(map(len, taken)) >= POLL_BYTES_MAX
    assert max(consumer.calls) <= CONSUMED_MESSAGES_MAX


def test_a_poll_takes_what_there_is() -> None:
    """A poll returns when no more messages are available, and never returns more than requested."""
    consumer = EndlessConsumer(10, left=1_234)
    source = KafkaSource(cast("Consumer", consumer), AdminClient({}), "events", 1.0, OutageLog("reaching Kafka"))

    assert [len(source.poll(700, 0.1)) for _ in range(3)] == [700, 534, 0]
