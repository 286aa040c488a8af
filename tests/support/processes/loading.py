"""Loads messages, which a test writes to a partition, with a real etl process."""

from __future__ import annotations

import subprocess
import time
import uuid
from collections.abc import Callable, Iterable

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from ugc.v1.event_pb2 import Event

from db.clickhouse.client import ClickHouse
from db.kafka.topics import provision
from local.processes.program import running
from tests.conftest import LAYOUT
from tests.support.inputs.events import record
from tests.support.processes.system import Deployment, await_equal

WAIT_SECONDS_MAX = 60
HORIZON = 50
# Small batches, a short horizon and a short fence.
SETTINGS = {
    "UGC_ETL_DUPLICATE_WINDOW": str(HORIZON),
    "UGC_ETL_FENCE_SECONDS": "1",
    "UGC_ETL_FLUSH_ROWS": "100",
}


def identified(event: Event) -> bytes:
    """Return the record of an event, with the event's own event_id."""
    return record(event, uuid.UUID(event.event_id).bytes)


def now(_number: int) -> int:
    """Return the timestamp 0, for which the Kafka client uses the current time."""
    return 0


def write(
    deployment: Deployment, values: Iterable[bytes | None], partition: int = 0, milliseconds: Callable[[int], int] = now
) -> None:
    """Write messages to one partition; `milliseconds` returns the timestamp of the n-th message."""
    failures: list[object] = []
    producer = Producer({"bootstrap.servers": deployment.kafka})
    for number, value in enumerate(values):
        producer.produce(
            deployment.topic,
            value,
            partition=partition,
            timestamp=milliseconds(number),
            on_delivery=lambda error, _: failures.append(error),
        )
    assert producer.flush(WAIT_SECONDS_MAX) == 0
    assert not any(failures)


def commit(deployment: Deployment, offset: int, metadata: str = "") -> None:
    """Commit an offset of partition 0 as Kafka's own tools do; wait until the group has no members."""
    consumer = Consumer({"bootstrap.servers": deployment.kafka, "group.id": deployment.group})
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while True:
        try:
            consumer.commit(offsets=[TopicPartition(deployment.topic, 0, offset, metadata)], asynchronous=False)
            break
        except KafkaException as error:
            # A killed process stays a member until its session times out.
            if error.args[0].code() != KafkaError.UNKNOWN_MEMBER_ID or time.monotonic() > deadline:
                raise
            time.sleep(0.2)
    consumer.close()


def committed(deployment: Deployment) -> tuple[int, str]:
    """Return the group's committed offset of partition 0 and its metadata."""
    consumer = Consumer({"bootstrap.servers": deployment.kafka, "group.id": deployment.group})
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while True:
        try:
            (found,) = consumer.committed([TopicPartition(deployment.topic, 0)], timeout=WAIT_SECONDS_MAX)
            break
        except KafkaException as error:
            # The first group of a broker has no coordinator for a moment.
            if error.args[0].code() != KafkaError.NOT_COORDINATOR or time.monotonic() > deadline:
                raise
            time.sleep(0.2)
    consumer.close()
    return found.offset, found.metadata or ""


def offsets(tables: ClickHouse, table: str = "events") -> list[int]:
    """Return the offsets of a table's rows, sorted."""
    return [offset for (offset,) in tables.rows(f"SELECT kafka_offset FROM {table} ORDER BY kafka_offset")]


def await_rows(tables: ClickHouse, count: int) -> None:
    """Wait until both tables together have this number of rows."""
    query = "SELECT (SELECT count() FROM events) + (SELECT count() FROM rejected_events)"
    await_equal(lambda: tables.rows(query), [(count,)])


def load(deployment: Deployment, tables: ClickHouse, count: int) -> None:
    """Run the etl until both tables have this number of rows, then stop it with SIGTERM."""
    with running(deployment.etl()):
        await_rows(tables, count)


def run_to_its_end(deployment: Deployment) -> tuple[int, str]:
    """Run an etl that exits by itself; return its exit status and its log."""
    program = deployment.etl()
    done = subprocess.run(
        program.argv,
        env={**program.environment},
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS_MAX,
        check=False,
    )
    return done.returncode, done.stderr


def recreate(deployment: Deployment) -> None:
    """Delete the topic and create it again."""
    admin = AdminClient({"bootstrap.servers": deployment.kafka})
    admin.delete_topics([deployment.topic])[deployment.topic].result(WAIT_SECONDS_MAX)
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while deployment.topic in admin.list_topics(timeout=WAIT_SECONDS_MAX).topics:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert provision(deployment.kafka, deployment.topic, LAYOUT)
