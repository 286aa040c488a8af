"""The topic and the local broker, on a real Kafka."""

from __future__ import annotations

from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from db.errors import ConflictError, UnavailableError
from db.kafka.layout import TopicLayout
from db.kafka.topics import OffsetReader, provision
from local.kafka.files import QUICK
from local.kafka.server import kafka_program
from local.processes.ports import free_port
from local.processes.program import Child, running

LAYOUT = TopicLayout(partitions=2, replication_factor=1, min_insync_replicas=1, retention_hours=1)
MESSAGES = 500


def produce(bootstrap: str, topic: str, count: int) -> None:
    """Write messages to partition 0 and wait for their acknowledgement."""
    failures: list[object] = []
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all", "enable.idempotence": True})
    for number in range(count):
        producer.produce(
            topic, str(number), partition=0, on_delivery=lambda error, _: failures.append(error) if error else None
        )
    assert producer.flush(30) == 0
    assert failures == []


def test_topic_is_created_once(kafka: str) -> None:
    """The first call creates the topic, the second finds it, and fewer partitions than configured are an error."""
    assert provision(kafka, "once", LAYOUT) is True
    assert provision(kafka, "once", LAYOUT) is False
    with pytest.raises(ConflictError, match=r"partitions is 2, should be 5(?s:.*)UGC_KAFKA_PARTITIONS"):
        provision(kafka, "once", TopicLayout(5, 1, 1, 1))


def test_no_kafka() -> None:
    """When no broker answers, the error names the address and its setting."""
    away = f"127.0.0.1:{free_port()}"
    with pytest.raises(UnavailableError, match=rf"{away} \(UGC_KAFKA_BOOTSTRAP_SERVERS\) did not create topic"):
        provision(away, "nowhere", LAYOUT)


def test_offsets(kafka: str) -> None:
    """The offsets of a partition: its end, the committed offset, and their difference as lag."""
    provision(kafka, "offsets", LAYOUT)
    produce(kafka, "offsets", 10)
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": "readers"})
    consumer.commit(offsets=[TopicPartition("offsets", 0, 4)], asynchronous=False)
    consumer.close()
    reader = OffsetReader(kafka, "offsets", "readers")
    first, second = reader.read()
    reader.close()

    assert (first.low, first.high, first.committed, first.lag) == (0, 10, 4, 6)
    assert (second.high, second.lag) == (0, 0)


def test_kafka_keeps_its_data(tmp_path: Path) -> None:
    """Acknowledged messages survive kill -9 and a clean stop."""
    port = free_port()
    bootstrap, program = f"127.0.0.1:{port}", kafka_program(tmp_path, port, free_port(), java_options=[QUICK])
    with running(program) as child:
        provision(bootstrap, "kept", LAYOUT)
        produce(bootstrap, "kept", MESSAGES)
        child.kill()
    child = Child(program)
    child.await_ready()
    child.stop()
    with running(program):
        reader = OffsetReader(bootstrap, "kept", "nobody")
        first, _ = reader.read()
        reader.close()

    assert first.high == MESSAGES
