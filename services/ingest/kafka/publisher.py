"""Publishes the records of requests to Kafka and returns, per request, the failures of those not acknowledged."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import AsyncIterator
from functools import partial
from itertools import repeat
from operator import length_hint
from time import monotonic, perf_counter

from confluent_kafka import KafkaError, KafkaException

from common.failpoints import failpoint
from common.kafka_credentials import following_password
from common.kafka_metrics import Statistics
from common.kafka_problems import KafkaProblem, is_denied
from common.logs import logger
from common.metrics import Observations
from services.ingest.events.records import Headers, Record, Records, framing_bytes
from services.ingest.kafka.configuration import producer_configuration
from services.ingest.kafka.delivery_tracker import DeliveryTracker
from services.ingest.kafka.errors import TOO_LARGE, DeliveryFailure, Remedy, delivery_failure, rejection_of
from services.ingest.kafka.lingering import Lingering, OnReport
from services.ingest.kafka.producers import ACCEPTED, Producers, open_producers
from services.ingest.kafka.reachability import Reachability
from services.ingest.kafka.report_polling import ReportPolling
from services.ingest.kafka.round_trips import RoundTrips
from services.ingest.kafka.single_report import SingleReport
from services.ingest.kafka.stuck_brokers import StuckBrokers
from services.ingest.kafka.topic_limits import TopicAnswer, ask_about_topic
from services.ingest.limits.acknowledgements import AckMeter
from services.ingest.limits.time_slices import TimeSlices
from services.ingest.metrics import IngestMetrics
from services.ingest.settings import IngestSettings

# Records between two checks of the time slice; they take 0.1 ms.
RECORDS_PER_CHECK = 250
# The Kafka client chooses the partition by the key.
ANY_PARTITION = -1
NOW = 0


@contextlib.asynccontextmanager
async def publishing(
    settings: IngestSettings, metrics: IngestMetrics | None = None, meter: AckMeter | None = None
) -> AsyncIterator[KafkaPublisher]:
    """Open the producer; at the end of the block wait for the delivery reports of all records that it took.

    `meter` counts the records in flight.
    """
    metrics, problem = metrics or IngestMetrics(), KafkaProblem(settings)
    client = metrics.client
    stuck_brokers, round_trips = StuckBrokers(settings.kafka_topic), RoundTrips(settings.ingest_kafka_requests_max)
    producers = open_producers(producer_configuration(settings), settings, client, problem)

    def on_statistics(statistics: Statistics) -> None:
        if statistics["eos"]["idemp_state"] == ACCEPTED:
            producers.accepted()
        round_trips.take(statistics)
        if meter is not None:
            meter.exclude(*stuck_brokers.find(statistics))

    client.on_statistics = on_statistics
    linger_seconds = settings.ingest_linger_seconds
    reachability = Reachability(producers, settings.kafka_topic, partial(ask_about_topic, settings), problem)
    publisher = KafkaPublisher(
        producers, settings.kafka_topic, reachability, linger_seconds, metrics.ack_seconds, meter
    )
    polling = publisher.polling
    reachability.requests = lambda: round_trips.requests
    metrics.saturation.read_queue(polling, settings)
    metrics.retention.reads_each(reachability.retention_seconds)
    async with polling.running():
        try:
            with following_password(settings, producers.all):
                yield publisher
        finally:
            publisher.lingering.send_all()
            if left := await polling.drain(settings.ingest_delivery_seconds_max):
                logger().warning("events were left unacknowledged", events=left)


class KafkaPublisher:
    """Publishes the records of all requests of a process."""

    def __init__(
        self,
        producers: Producers,
        topic: str,
        reachability: Reachability | None = None,
        linger_seconds: float = 0.0,
        ack_seconds: Observations | None = None,
        meter: AckMeter | None = None,
    ) -> None:
        """`ack_seconds` are the times to the acknowledgement: of each batch, and of one single event after the other.

        Without `reachability` Kafka is not checked.
        """
        self._producers = producers
        self._topic = topic
        self.reachability = reachability or Reachability(producers, topic, lambda _seconds: TopicAnswer())
        self._ack_seconds = ack_seconds or Observations(())
        self._is_measuring = False
        self.lingering = Lingering(self._send, linger_seconds)
        self._meter = meter or AckMeter()
        self.polling = ReportPolling(producers, self.lingering.send_due, self._note)
        self._time_slices = TimeSlices()

    def send(self, record: Record, headers: Headers | None, on_report: OnReport) -> None:
        """Write one record; call `on_report` once, now or later in the event loop, with its failure or None.

        While Kafka is unreachable the record fails at once and is not written.
        """
        if problem := self.reachability.problem:
            on_report(DeliveryFailure(problem))
            return
        self._meter.handed += 1
        self._meter.in_flight += 1
        self.lingering.add(record, headers, on_report, is_idle=not self.polling.is_busy)
        self.polling.wake()

    def _send(self, record: Record, headers: Headers | None, on_report: OnReport) -> None:
        batch_bytes_max = self._producers.shape.batch_bytes_max
        report = SingleReport()
        rejection = self._hand_over(record, headers, report)
        if rejection:
            on_report(DeliveryFailure(rejection))
            return

        began = 0.0
        if not self._is_measuring:
            self._is_measuring, began = True, perf_counter()

        def on_delivery(error: KafkaError | None) -> None:
            if began:
                self._is_measuring = False
                self._ack_seconds.observe(perf_counter() - began)
            if error is not None:
                on_report(self._failure(error, record, framing_bytes(headers), batch_bytes_max))
            else:
                on_report(None)

        report.expect(on_delivery)
        failpoint("between-produce-and-report")

    async def publish(self, records: Records, headers: Headers | None = None) -> dict[int, DeliveryFailure]:
        """Write all records, wait for their delivery reports, and return the failures by index.

        Every message has the same headers. While Kafka is unreachable all records fail at once and none is written.
        """
        if problem := self.reachability.problem:
            return dict.fromkeys(range(len(records)), DeliveryFailure(problem))
        # In the order of the calls.
        self.lingering.send_all()
        began, tracker = perf_counter(), DeliveryTracker()
        batch_bytes_max = self._producers.shape.batch_bytes_max
        self._meter.reserve(len(records))
        try:
            if len(records) <= RECORDS_PER_CHECK:
                taken, rejection = self._produce(records, 0, tracker, headers)
            else:
                taken, rejection = await self._produce_in_slices(records, tracker, headers)
        finally:
            self._meter.cancel(len(records) - tracker.taken)
        self.polling.wake()
        tracker.seal()
        failpoint("between-produce-and-report")
        await tracker.done
        if taken:
            self._ack_seconds.observe(perf_counter() - began)
        if taken == len(records) and not tracker.failed:
            return {}
        framing = framing_bytes(headers)
        failures = {
            index: self._failure(error, records[index], framing, batch_bytes_max)
            for index, error in tracker.failures_by_index(records, taken).items()
        }
        return failures | dict.fromkeys(range(taken, len(records)), DeliveryFailure(rejection))

    async def _produce_in_slices(
        self, records: Records, tracker: DeliveryTracker, headers: Headers | None
    ) -> tuple[int, str]:
        """Do what `_produce` does, in slices of time."""
        taken = 0
        async with self._time_slices.acquire() as time_slice:
            while taken < len(records):
                taken, rejection = self._produce(records, taken, tracker, headers)
                if rejection:
                    return taken, rejection
                if time_slice.is_expired:
                    await time_slice.renew()
        return taken, ""

    def _produce(
        self, records: Records, start: int, tracker: DeliveryTracker, headers: Headers | None
    ) -> tuple[int, str]:
        """Pass the next records to the producer; return the index after those that it took, and why it rejects one."""
        end = start + RECORDS_PER_CHECK
        keys, values = records.keys[start:end], iter(records.values[start:end])
        # `produce_batch` costs the same and takes no headers.
        produce, topic, callback = self._producers.current.produce, repeat(self._topic), repeat(tracker.callback)
        # Keyword arguments would cost a third more, and these a twentieth.
        rest: list[repeat[object]] = [repeat(None), repeat(NOW), repeat(headers)] if headers else []
        try:
            # A loop in C.
            deque(map(produce, topic, values, keys, repeat(ANY_PARTITION), callback, *rest), maxlen=0)
        except (BufferError, KafkaException) as error:
            # The record that was rejected is the last one that was read.
            taken, rejection = start + len(keys) - length_hint(values) - 1, rejection_of(error)
        else:
            taken, rejection = start + len(keys), ""
        self._meter.hand_over(taken - tracker.taken)
        tracker.taken = taken
        return taken, rejection

    def _hand_over(self, record: Record, headers: Headers | None, report: SingleReport) -> str:
        """Pass one record to the producer; return why the producer rejects it, or an empty text."""
        produce = self._producers.current.produce
        try:
            produce(self._topic, record.value, record.key, ANY_PARTITION, report, None, NOW, headers)
        except (BufferError, KafkaException) as error:
            return rejection_of(error)
        return ""

    def _note(self, in_flight: int) -> None:
        """Note how many records are in flight, those that wait included."""
        self._meter.on_poll(in_flight + self.lingering.waiting, monotonic())

    def _failure(self, error: KafkaError, record: Record, framing: int, batch_bytes_max: int) -> DeliveryFailure:
        failure = delivery_failure(error, len(record.key) + len(record.value) + framing, batch_bytes_max)
        if (error.code() in TOO_LARGE and failure.remedy is Remedy.RETRY) or is_denied(error.name()):
            # The topic's limit or permissions were changed: the next check reads them, before the client retries.
            self.reachability.read_limits_next()
        return failure
