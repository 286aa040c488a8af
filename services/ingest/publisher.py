"""Writes records to Kafka and says, per request, which of them Kafka has acknowledged."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Sequence

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from services.ingest.records import Headers, Record
from services.ingest.settings import IngestSettings
from services.runtime.failpoints import reach
from services.runtime.logs import logger

POLL_SECONDS = 0.1
# Kafka's client chooses the partition by the key.
ANY_PARTITION = -1
NOW = 0


class UnreachableError(Exception):
    """Kafka does not answer, or has no such topic."""


def producer_configuration(settings: IngestSettings) -> dict[str, str | int | float | bool]:
    """Return librdkafka's properties; an acknowledgement means all in-sync replicas have the event, once."""
    delivery_milliseconds = int(settings.ingest_delivery_seconds_max * 1000)
    return {
        "bootstrap.servers": settings.kafka_bootstrap_servers,
        "client.id": "ugc-ingest",
        "acks": "all",
        "enable.idempotence": True,
        "message.timeout.ms": delivery_milliseconds,
        "request.timeout.ms": delivery_milliseconds,
        "linger.ms": settings.ingest_linger_seconds * 1000,
        "queue.buffering.max.messages": settings.ingest_queue_events_max,
        "queue.buffering.max.kbytes": settings.ingest_queue_kilobytes_max,
        "compression.type": "lz4",
        # The partition that Java clients would choose for the same key.
        "partitioner": "murmur2_random",
        "reconnect.backoff.max.ms": 1000,
        "topic.metadata.refresh.interval.ms": 10_000,
        # At level 3 a broker that is away is a line for each attempt to reach it; the health watch says it once.
        "log_level": 2,
    }


@contextlib.asynccontextmanager
async def publishing(settings: IngestSettings, on_fatal: Callable[[str], None]) -> AsyncIterator[KafkaPublisher]:
    """Open the producer; on the way out wait until Kafka has answered for everything that was handed over.

    `on_fatal` is called, on another thread, when the producer can never work again and the process must be replaced.
    """

    def report(error: KafkaError) -> None:
        if error.fatal():
            on_fatal(error.str())

    producer = Producer({**producer_configuration(settings), "error_cb": report})
    stopped = threading.Event()
    poller = threading.Thread(target=_poll, args=(producer, stopped), name="kafka-poll")
    poller.start()
    try:
        yield KafkaPublisher(producer, settings.kafka_topic)
    finally:
        left = await asyncio.to_thread(producer.flush, settings.ingest_delivery_seconds_max)
        stopped.set()
        await asyncio.to_thread(poller.join)
        if left:
            logger().warning("events were left unacknowledged", events=left)


def _poll(producer: Producer, stopped: threading.Event) -> None:
    """Serve delivery reports until told to stop."""
    while not stopped.is_set():
        producer.poll(POLL_SECONDS)


class KafkaPublisher:
    """The one way to Kafka for all requests of a process."""

    def __init__(self, producer: Producer, topic: str) -> None:
        self._producer = producer
        self._topic = topic

    async def publish(self, records: Sequence[Record], headers: Headers | None = None) -> dict[int, str]:
        """Write all records and return once Kafka has answered for each: the reasons of those that failed, by index.

        Every message carries the same headers.
        """
        countdown = Countdown(len(records))
        produce, topic, delivered = self._producer.produce, self._topic, countdown.delivered
        refusal = "the queue to Kafka is full"
        for index, record in enumerate(records):
            try:
                # By position: names cost a third more.
                produce(topic, record.value, record.key, ANY_PARTITION, delivered, None, NOW, headers)
            except BufferError:
                countdown.expect(index)
                break
            except KafkaException as error:
                # The producer has failed for good; `on_fatal` ends the process.
                refusal = describe(error.args[0])
                countdown.expect(index)
                break
        reach("between-produce-and-report")
        await countdown.done
        failures = countdown.failures_by_index(records)
        return failures | dict.fromkeys(range(countdown.expected, len(records)), refusal)

    def check_reachable(self, seconds_max: float) -> None:
        """Ask Kafka for the topic; UnreachableError when it does not answer in time or has no such topic. Blocks."""
        try:
            metadata = self._producer.list_topics(self._topic, timeout=seconds_max)
        except KafkaException as error:
            raise UnreachableError(describe(error.args[0])) from error
        if problem := metadata.topics[self._topic].error:
            raise UnreachableError(f"topic {self._topic}: {describe(problem)}")


class Countdown:
    """Counts the delivery reports of one request and wakes it once, after the last.

    Reports come on the poll thread, the request waits in the event loop. A future for each event would cost eight
    times as much (architecture/decisions).
    """

    def __init__(self, expected: int) -> None:
        self.expected = expected
        self.answered = 0
        self.failed: list[tuple[bytes | None, str]] = []
        self._loop = asyncio.get_running_loop()
        self.done: asyncio.Future[None] = self._loop.create_future()
        if not expected:
            self._finish()

    def delivered(self, error: KafkaError | None, message: Message) -> None:
        """Take one delivery report; called on the poll thread."""
        if error is not None:
            self.failed.append((message.value(), describe(error)))
        self.answered += 1
        if self.answered == self.expected:
            self._loop.call_soon_threadsafe(self._finish)

    def expect(self, count: int) -> None:
        """Wait for fewer reports than first thought; called in the event loop."""
        # Both threads write one number, then read the other's: at least one of them sees that they are equal.
        self.expected = count
        if self.answered == count:
            self._finish()

    def failures_by_index(self, records: Sequence[Record]) -> dict[int, str]:
        """Find the records of the failed reports; the costly search is paid only when something failed."""
        if not self.failed:
            return {}
        # Equal records are one event, so any of them may stand for another, but only those that were handed over. From
        # the back, so that the first is popped first.
        indexes: dict[bytes, list[int]] = {}
        for index in reversed(range(self.expected)):
            indexes.setdefault(records[index].value, []).append(index)
        return {indexes[value].pop(): reason for value, reason in self.failed if value is not None}

    def _finish(self) -> None:
        if not self.done.done():
            self.done.set_result(None)


def describe(error: KafkaError) -> str:
    """Say what Kafka's client reports, for a log or a client: `Kafka: Local: Message timed out`."""
    return f"Kafka: {error.str()}"
