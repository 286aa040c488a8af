"""Delivery failures: what Kafka's errors mean for a client, and how requests fail while Kafka is unreachable."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from google.rpc.error_details_pb2 import RetryInfo

from services.ingest.batch_result import BatchResult
from services.ingest.errors import delivery_error
from services.ingest.events.records import Records
from services.ingest.kafka.errors import REJECTED, TOO_LARGE, DeliveryFailure, Remedy, delivery_failure
from services.ingest.kafka.producers import Producers, Shape
from services.ingest.kafka.publisher import KafkaPublisher
from services.ingest.kafka.reachability import FAILED_CHECKS_MAX, UnreachableError
from tests.support.fakes.producers import TOPIC, ScriptedProducer

RETRYABLE = [
    KafkaError._MSG_TIMED_OUT,
    KafkaError._TRANSPORT,
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NOT_ENOUGH_REPLICAS,
    KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
    KafkaError.REQUEST_TIMED_OUT,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError.KAFKA_STORAGE_ERROR,
    KafkaError.THROTTLING_QUOTA_EXCEEDED,
    KafkaError.UNKNOWN,
]


def test_no_error_is_in_two_lists() -> None:
    """Each listed error has one meaning."""
    assert not TOO_LARGE & REJECTED
    assert not (TOO_LARGE | REJECTED) & set(RETRYABLE)


@pytest.mark.parametrize("code", sorted(REJECTED))
def test_rejected(code: int) -> None:
    """An error with which a broker always rejects a record is FAILED_PRECONDITION without a delay."""
    failure = delivery_failure(KafkaError(code), 100, 1_000)
    status = delivery_error(failure, 1.0)

    assert failure.remedy is Remedy.FIX_SERVER
    assert status.code == 9
    assert not status.details


@pytest.mark.parametrize("code", RETRYABLE)
def test_transient(code: int) -> None:
    """A transient or unknown error is UNAVAILABLE with a delay."""
    status = delivery_error(delivery_failure(KafkaError(code), 100, 1_000), 1.0)

    assert status.code == 14
    assert status.details[0].Is(RetryInfo.DESCRIPTOR)


@pytest.mark.parametrize("code", sorted(TOO_LARGE))
def test_too_large(code: int) -> None:
    """A record that was a batch of its own is too large; one that shared its batch is retried in a smaller batch."""
    assert delivery_failure(KafkaError(code), 1_001, 1_000).remedy is Remedy.REDUCE_SIZE
    assert delivery_failure(KafkaError(code), 1_000, 1_000).remedy is Remedy.RETRY


def test_batch_of_failures() -> None:
    """A batch without stored events is UNAVAILABLE if a part can be retried, otherwise what the client must resolve."""
    retry, reduce, fix = (DeliveryFailure(remedy.value, remedy) for remedy in Remedy)

    def code(*failures: DeliveryFailure) -> int:
        result = BatchResult(len(failures), 1.0)
        result.failed = dict(enumerate(failures))
        error = result.error()
        assert error is not None
        return int(error.code)

    assert [code(reduce, fix, retry), code(reduce, fix), code(reduce, reduce)] == [14, 9, 3]


class Scripted(ScriptedProducer):
    """A producer whose broker answers as the test chooses."""

    answers = True

    def list_topics(self, topic: str, timeout: float) -> Any:  # noqa: ARG002 -- as the client has it
        if not self.answers:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT, "away"))
        return type("Metadata", (), {"topics": {topic: type("Topic", (), {"error": None})}})


def opened() -> tuple[KafkaPublisher, Scripted]:
    """Return a publisher with a scripted producer."""
    producer = Scripted(10, BufferError(), failing=lambda _index: False, late=False)
    scripted: Any = producer
    return KafkaPublisher(Producers(lambda _bytes: scripted), TOPIC), producer


async def test_unreachable_and_back() -> None:
    """Kafka is unreachable after several failed checks, and reachable after the next successful one."""
    publisher, producer = opened()
    record = Records([b"key"], [b"value"])
    producer.answers = False
    for _ in range(FAILED_CHECKS_MAX):
        assert await asyncio.wait_for(publisher.publish(record), 60) == {}
        with pytest.raises(UnreachableError):
            publisher.reachability.check(0.1)

    assert await publisher.publish(Records([b"key"] * 2, [b"value"] * 2)) == dict.fromkeys(
        range(2), DeliveryFailure("Kafka: Local: Broker transport failure")
    )
    producer.answers = True
    publisher.reachability.check(0.1)
    assert await asyncio.wait_for(publisher.publish(record), 60) == {}


def test_batches_follow_the_limit() -> None:
    """The size of batches follows the topic's limit in both directions, within the limits of the Kafka client."""
    sizes: list[int] = []

    def open_producer(shape: Shape) -> Any:
        sizes.append(shape.batch_bytes_max)
        return ScriptedProducer(10, BufferError(), failing=lambda _index: False, late=False)

    producers = Producers(open_producer)
    for limit in (1_048_588, 20_000, 20_000, 10, 50_000_000):
        producers.limit_batches(limit)

    assert sizes == [1_000_000, 20_000, 1_000, 1_000_000]
