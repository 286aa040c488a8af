"""Writes records to Kafka and says, per request, which of them Kafka has acknowledged."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from common.failpoints import failpoint
from common.logs import log_limited, logger
from services.ingest.events.records import Headers, Record
from services.ingest.kafka.errors import TOO_LARGE, describe, undelivered
from services.ingest.kafka.producers import LIMIT_SECONDS, POLL_SECONDS, Producers, topic_limit
from services.ingest.kafka.undelivered import Remedy, Undelivered
from services.ingest.limits.turns import Turns
from services.ingest.settings import IngestSettings

# After so many unanswered questions for the topic one after another, Kafka is away.
AWAY_CHECKS = 2
# What a record has in a batch beside its key, value and headers, and a batch beside its record; generously.
FRAMING_BYTES = 128
# Records between two looks at the clock.
RECORDS_PER_LOOK = 64
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

    configuration = {**producer_configuration(settings), "error_cb": report}
    producers = Producers(lambda bytes_max: Producer({**configuration, "batch.size": bytes_max}))
    stopped = threading.Event()
    poller = threading.Thread(target=_poll, args=(producers, stopped), name="kafka-poll")
    poller.start()

    def read_limit(seconds_max: float) -> int | None:
        return topic_limit(settings.kafka_bootstrap_servers, settings.kafka_topic, seconds_max)

    try:
        yield KafkaPublisher(producers, settings.kafka_topic, read_limit)
    finally:
        left = await asyncio.to_thread(producers.flush, settings.ingest_delivery_seconds_max)
        stopped.set()
        await asyncio.to_thread(poller.join)
        if left:
            logger().warning("events were left unacknowledged", events=left)


def _poll(producers: Producers, stopped: threading.Event) -> None:
    """Serve delivery reports until the flag is set."""
    while not stopped.is_set():
        try:
            producers.poll()
        except Exception as error:  # noqa: BLE001 -- without this thread no call is ever answered again
            log_limited(logging.ERROR, "taking Kafka's reports failed unexpectedly", exc_info=error)
            stopped.wait(POLL_SECONDS)


class KafkaPublisher:
    """The one way to Kafka for all requests of a process."""

    def __init__(
        self, producers: Producers, topic: str, read_limit: Callable[[float], int | None] = lambda _seconds: None
    ) -> None:
        """`read_limit` asks, for so many seconds, how many bytes the topic takes at once."""
        self._producers = producers
        self._topic = topic
        self._read_limit = read_limit
        self._limit_until = 0.0
        self._turns = Turns()
        self._unanswered = 0
        self._away = ""

    async def publish(self, records: Sequence[Record], headers: Headers | None = None) -> dict[int, Undelivered]:
        """Write all records and return once Kafka has answered for each: the reasons of those that failed, by index.

        Every message carries the same headers. While Kafka is away nothing is written, and all fail at once.
        """
        if self._unanswered >= AWAY_CHECKS:
            return dict.fromkeys(range(len(records)), Undelivered(self._away))
        countdown = Countdown(len(records))
        batch_bytes_max = self._producers.batch_bytes_max
        if len(records) <= RECORDS_PER_LOOK:
            refusal = self._hand_over(records, 0, countdown, headers)
        else:
            refusal = await self._hand_over_in_turns(records, countdown, headers)
        failpoint("between-produce-and-report")
        await countdown.done
        framing = FRAMING_BYTES + sum(len(name) + len(value or "") for name, value in headers or ())
        failures = {
            index: self._undelivered(error, records[index], framing, batch_bytes_max)
            for index, error in countdown.failures_by_index(records).items()
        }
        return failures | dict.fromkeys(range(countdown.expected, len(records)), Undelivered(refusal))

    async def _hand_over_in_turns(
        self, records: Sequence[Record], countdown: Countdown, headers: Headers | None
    ) -> str:
        async with self._turns.turn() as turn:
            for start in range(0, len(records), RECORDS_PER_LOOK):
                refusal = self._hand_over(records[start : start + RECORDS_PER_LOOK], start, countdown, headers)
                if refusal:
                    return refusal
                if turn.is_over:
                    await turn.rest()
        return ""

    def _hand_over(self, records: Sequence[Record], start: int, countdown: Countdown, headers: Headers | None) -> str:
        """Hand records to the producer; return why it took no more, the countdown then expects those before."""
        produce, topic, delivered = self._producers.current.produce, self._topic, countdown.delivered
        for index, record in enumerate(records, start):
            try:
                # By position: names cost a third more.
                produce(topic, record.value, record.key, ANY_PARTITION, delivered, None, NOW, headers)
            except BufferError:
                countdown.expect(index)
                return "the queue to Kafka is full"
            except KafkaException as error:
                # The producer has failed for good; `on_fatal` ends the process.
                countdown.expect(index)
                return describe(error.args[0])
        return ""

    def _undelivered(self, error: KafkaError, record: Record, framing: int, batch_bytes_max: int) -> Undelivered:
        found = undelivered(error, len(record.key) + len(record.value) + framing, batch_bytes_max)
        if error.code() in TOO_LARGE and found.remedy is Remedy.SEND_AGAIN:
            # The topic takes less than was known: it is asked again before the client comes again.
            self._limit_until = 0.0
        return found

    def check_reachable(self, seconds_max: float) -> None:
        """Ask Kafka for the topic; UnreachableError when it does not answer in time or has no such topic. Blocks."""
        try:
            self._ask_for_topic(seconds_max)
        except UnreachableError as error:
            self._away = str(error)
            self._unanswered += 1
            raise
        self._unanswered = 0
        if time.monotonic() >= self._limit_until:
            self._limit_until = time.monotonic() + LIMIT_SECONDS
            if limit := self._read_limit(seconds_max):
                self._producers.limit_batches(limit)

    def _ask_for_topic(self, seconds_max: float) -> None:
        try:
            metadata = self._producers.current.list_topics(self._topic, timeout=seconds_max)
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
        self.failed: list[tuple[bytes | None, KafkaError]] = []
        self._loop = asyncio.get_running_loop()
        self.done: asyncio.Future[None] = self._loop.create_future()
        if not expected:
            self._finish()

    def delivered(self, error: KafkaError | None, message: Message) -> None:
        """Take one delivery report; called on the poll thread."""
        if error is not None:
            self.failed.append((message.value(), error))
        self.answered += 1
        if self.answered == self.expected:
            self._loop.call_soon_threadsafe(self._finish)

    def expect(self, count: int) -> None:
        """Wait for fewer reports than first thought; called in the event loop."""
        # Both threads write one number, then read the other's: at least one of them sees that they are equal.
        self.expected = count
        if self.answered == count:
            self._finish()

    def failures_by_index(self, records: Sequence[Record]) -> dict[int, KafkaError]:
        """Find the records of the failed reports; the costly search is paid only when something failed."""
        if not self.failed:
            return {}
        # Equal records are one event, so any of them may stand for another, but only those that were handed over. From
        # the back, so that the first is popped first.
        indexes: dict[bytes, list[int]] = {}
        for index in reversed(range(self.expected)):
            indexes.setdefault(records[index].value, []).append(index)
        return {indexes[value].pop(): error for value, error in self.failed if value is not None}

    def _finish(self) -> None:
        if not self.done.done():
            self.done.set_result(None)
