"""How full the limits of ingest are; scrapes read it from the objects that own the limits."""

from __future__ import annotations

from typing import Protocol

from common.metrics import Gauge, Metrics
from services.ingest.limits.admission import Admission
from services.ingest.settings import IngestSettings

KILOBYTE = 1_024


class Queue(Protocol):
    """The queue of Kafka's client."""

    in_flight: int


class EventsInFlight(Protocol):
    """The admission of events."""

    @property
    def in_flight(self) -> int:
        """The events in flight."""

    @property
    def limit(self) -> int:
        """The events that may be in flight at present."""


class Saturation:
    """What is in work and in flight, each beside its limit."""

    def __init__(self, metrics: Metrics) -> None:
        """Declare the metrics."""
        self.queue_events = Measured(
            metrics, "ugc_ingest_kafka_queue_events", "Events in the queue of Kafka's client, sent or not."
        )
        self.queue_bytes = Measured(
            metrics, "ugc_ingest_kafka_queue_bytes", "Bytes of the events in that queue, as of 5 seconds ago."
        )
        self.requests = Measured(
            metrics, "ugc_ingest_requests_in_work", "Requests that are admitted and not answered yet."
        )
        self.request_bytes = Measured(metrics, "ugc_ingest_request_bytes_in_work", "Bytes of those requests.")
        self.events_in_flight = Measured(
            metrics, "ugc_ingest_events_in_flight", "Events that are admitted and not acknowledged yet."
        )

    def read_queue(self, queue: Queue, settings: IngestSettings) -> None:
        """Read the queue of Kafka's client from now on; `settings` are those of this process."""
        self.queue_events.used.reads(lambda: queue.in_flight)
        self.queue_events.limit.child().value = settings.ingest_queue_events_max
        self.queue_bytes.limit.child().value = settings.ingest_queue_kilobytes_max * KILOBYTE

    def read_events(self, events: EventsInFlight) -> None:
        """Read the events in flight and their limit from now on."""
        self.events_in_flight.used.reads(lambda: events.in_flight)
        self.events_in_flight.limit.reads(lambda: events.limit)

    def read_admission(self, admission: Admission) -> None:
        """Read the requests in work from now on."""
        self.requests.used.reads(lambda: admission.in_flight.requests)
        self.requests.limit.child().value = admission.limits.requests
        self.request_bytes.used.reads(lambda: admission.in_flight.size)
        self.request_bytes.limit.child().value = admission.limits.size


class Measured:
    """What is used of a limit, and the limit."""

    def __init__(self, metrics: Metrics, name: str, text: str) -> None:
        self.used: Gauge = metrics.gauge(name, text)
        self.limit: Gauge = metrics.gauge(f"{name}_limit", f"The limit of `{name}`.")
