"""The metrics of ingest, each declared once, and what the event loop changes for each call.

An event arrives when ingest has the message that carries it, or refuses the call before reading the message; from then
on it has exactly one outcome. A batch counts with the number of its events. It counts as one event when nobody can
count them: its message was not read, is not a batch, or has more events than a batch may have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol, cast

from google.protobuf.descriptor import Descriptor
from google.rpc.code_pb2 import (
    CANCELLED,
    INVALID_ARGUMENT,
    OK,
    PERMISSION_DENIED,
    RESOURCE_EXHAUSTED,
    UNAUTHENTICATED,
    Code,
)
from ugc.v1 import debug_service_pb2, ingest_service_pb2
from ugc.v1.event_pb2 import Event

from common.kafka_metrics import KafkaClientMetrics
from common.metrics import Metrics, Observations, Value
from services.ingest.auth.claims import VALID, VERDICTS
from services.ingest.events.validation import batch_limits
from services.ingest.events.violation_messages import WHOLE, FieldViolation
from services.ingest.events.wire import count_batch_events
from services.ingest.limits.event_admission import Shed
from services.ingest.saturation import Saturation

INGEST = ingest_service_pb2.DESCRIPTOR.services_by_name["IngestService"].full_name
DEBUG = debug_service_pb2.DESCRIPTOR.services_by_name["DebugService"].full_name
PRODUCE, BATCH_PRODUCE = f"{INGEST}/Produce", f"{INGEST}/BatchProduce"
RANDOM_BATCH_PRODUCE = f"{DEBUG}/RandomBatchProduce"
ACCEPTED, INVALID, DENIED, UNAVAILABLE, SHED = "accepted", "invalid", "denied", "unavailable", "shed"
CANCELLED_BY_CLIENT = "cancelled"
OUTCOMES = (ACCEPTED, INVALID, DENIED, UNAVAILABLE, SHED, CANCELLED_BY_CLIENT)
# The outcome of all events of a call that ends with an error; that of any other code is UNAVAILABLE.
OUTCOME_OF_CODE = {
    INVALID_ARGUMENT: INVALID,
    PERMISSION_DENIED: DENIED,
    UNAUTHENTICATED: DENIED,
    RESOURCE_EXHAUSTED: SHED,
    CANCELLED: CANCELLED_BY_CLIENT,
}
SHED_REASONS = ("limit", "caller", "priority", "deadline", "memory")
# The fields of errors that are about the whole batch, and about events whose violations are not explained.
BATCH_FIELD, UNEXPLAINED_FIELD = "events", "unexplained"
# The bounds that the semantic conventions of OpenTelemetry recommend.
CALL_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
ACK_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
BATCH_EVENTS_MAX = batch_limits().events_max
BATCH_EVENTS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000)


def fields() -> tuple[str, ...]:
    """Return the paths that a violation of an event can name."""
    paths = []
    for field in cast("Descriptor", Event.DESCRIPTOR).fields:
        inner = field.message_type.fields if field.message_type else ()
        paths += [field.name, *(f"{field.name}.{each.name}" for each in inner)]
    return (WHOLE, BATCH_FIELD, UNEXPLAINED_FIELD, *paths)


class IngestMetrics(Metrics):
    """The metrics of one process. The event loop changes the numbers, and scrapes read them."""

    def __init__(self) -> None:
        super().__init__()
        self._durations = self.histogram(
            "rpc_server_call_duration_seconds",
            "Duration of calls, alone or relayed, from their arrival until their end.",
            CALL_SECONDS,
            rpc_system_name=("grpc",),
            rpc_method=(PRODUCE, BATCH_PRODUCE, RANDOM_BATCH_PRODUCE),
            rpc_response_status_code=tuple(Code.keys()),
        )
        events = self.counter(
            "ugc_ingest_events",
            "Events that have arrived, by their one outcome: acknowledged by Kafka, not valid, without permission, "
            "not acknowledged by Kafka, refused because a limit was reached, or of a batch that its client cancelled.",
            outcome=OUTCOMES,
        )
        self.outcomes = {each: events.child(each) for each in OUTCOMES}
        # Events that the limits of requests refuse. They have a number of their own: the difference of two numbers that
        # change one after the other would fall at times, which Prometheus takes for a restart.
        self.shed_by_requests = Value()
        self.accepted, self.unavailable = self.outcomes[ACCEPTED], self.outcomes[UNAVAILABLE]
        invalid = self.counter(
            "ugc_ingest_invalid",
            "Violations in invalid events, by the field; `unexplained` are events after so many invalid ones of a "
            "request that their violations are not determined.",
            field=fields(),
        )
        self.invalid = {each: invalid.child(each) for each in fields()}
        verdicts = self.counter("ugc_ingest_auth", "Calls whose token was examined, by the verdict.", verdict=VERDICTS)
        self.verdicts = {each: verdicts.child(each) for each in VERDICTS}
        self.valid_tokens = self.verdicts[VALID]
        self.batch_events = self.histogram("ugc_ingest_batch_events", "Events in a batch.", BATCH_EVENTS).child()
        self.ack_seconds = self.histogram(
            "ugc_ingest_kafka_ack_seconds",
            "Time from the hand-over of events to Kafka's client until all of them are acknowledged or have failed; "
            "of each batch, and of one single event after the other.",
            ACK_SECONDS,
        ).child()
        self.produce = CallMetrics(self, PRODUCE, lambda _message: 1)
        self.batch_produce = CallMetrics(self, BATCH_PRODUCE, batch_size)
        # Its events are counted where they are stored.
        self.random_batch_produce = CallMetrics(self, RANDOM_BATCH_PRODUCE, lambda _message: 0)
        self.shed = self.counter(
            "ugc_ingest_shed",
            "Events that were refused because a limit was reached, by the limit: of the events in flight to Kafka, of "
            "the share of a caller that sends much more than others, of what events of low priority may use, of the "
            "time until the call's deadline, or of the requests and bytes in work.",
            reason=SHED_REASONS,
        )
        self.read_shed(Shed())
        self.is_reachable = self.gauge(
            "ugc_ingest_kafka_reachable", "Whether Kafka answered the last check and has the topic: 1 or 0."
        ).child()
        self.retention = self.gauge(
            "ugc_ingest_topic_retention_seconds",
            "How long Kafka keeps the events of the topic; +Inf without a limit, and no sample until it was read.",
        )
        self.retention.reads_each(dict)
        self.saturation = Saturation(self)
        self.client = ProducerMetrics(self, self.saturation.queue_bytes.used.child())

    def read_shed(self, shed: Shed) -> None:
        """Read from now on what the admission of events has refused; the limits of requests refuse the others."""

        def read() -> dict[tuple[str, ...], float]:
            memory = self.shed_by_requests.value
            counts = (shed.limit, shed.caller, shed.priority, shed.deadline, memory)
            return {(reason,): count for reason, count in zip(SHED_REASONS, counts, strict=True)}

        self.shed.read = read

    def duration(self, method: str, code: int) -> Observations:
        """Return the durations of a method's calls that end with a code."""
        return self._durations.child("grpc", method, Code.Name(code))

    def violations(self, found: Iterable[FieldViolation]) -> None:
        """Count violations by their fields."""
        for violation in found:
            self.invalid[violation.field].value += 1


class OpenSpan(Protocol):
    """The span of a sampled call."""

    @property
    def trace_id(self) -> str:
        """The id of the call's trace."""

    def end(self, code: int) -> None:
        """End it with the code of the call."""


class CallMetrics:
    """Counts the ends of the calls of one method."""

    def __init__(self, metrics: IngestMetrics, method: str, events_of: Callable[[bytes | None], int]) -> None:
        """`events_of` returns the number of events in a message, given None if the message was not read."""
        self.method = method
        self._durations = Durations(metrics, method)
        self._events_of = events_of
        self._outcomes = metrics.outcomes
        self._shed = metrics.shed_by_requests

    def ended(self, code: int, seconds: float, span: OpenSpan | None = None) -> None:
        """Count a call that has ended, with its trace as exemplar, and end its span."""
        if span is None:
            self._durations[code].observe(seconds)
            return
        self._durations[code].observe(seconds, span.trace_id)
        span.end(code)

    def refused(self, code: int, message: bytes | None) -> None:
        """Count all events of a call by its code; `message` is None if it was not read, and refused for a limit."""
        outcome, events = OUTCOME_OF_CODE.get(code, UNAVAILABLE), self._events_of(message)
        self._outcomes[outcome].value += events
        if outcome is SHED:
            self._shed.value += events


class Durations(dict[int, Observations]):
    """The durations of a method's calls, by code. Codes that never occur have no samples."""

    def __init__(self, metrics: IngestMetrics, method: str) -> None:
        super().__init__({OK: metrics.duration(method, OK)})
        self._metrics, self._method = metrics, method

    def __missing__(self, code: int) -> Observations:
        found = self[code] = self._metrics.duration(self._method, code)
        return found


class ProducerMetrics(KafkaClientMetrics):
    """Metrics of Kafka's client, with the bytes in the producer's queue."""

    def __init__(self, metrics: Metrics, queue_bytes: Value) -> None:
        super().__init__(metrics)
        self._queue_bytes = queue_bytes
        self._newest = object()

    def statistics_of_next(self) -> Callable[[str], None]:
        """Return what takes the statistics of a producer until the next one is opened.

        A replaced producer goes on to report: to the same gauges, with numbers of its own.
        """
        self._newest = own = object()

        def take(text: str) -> None:
            if own is self._newest:
                self.statistics(text)

        return take

    def _take(self, statistics: Mapping[str, object]) -> None:
        super()._take(statistics)
        self._queue_bytes.value = cast("int", statistics["msg_size"])


def batch_size(message: bytes | None) -> int:
    """Return the number of events in a batch; 1 if it cannot be counted."""
    # A refused batch is not parsed: one of millions of empty events would block the event loop for half a second.
    events = None if message is None else count_batch_events(message, BATCH_EVENTS_MAX)
    return 1 if events is None else events
