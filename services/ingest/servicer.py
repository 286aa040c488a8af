"""IngestService: validates the events of a request, writes them to Kafka, and answers OK only after Kafka's ack."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from google.rpc.error_details_pb2 import BadRequest
from ugc.v1.event_pb2 import Event
from ugc.v1.ingest_service_pb2 import ProduceResponse

from services.ingest.auth.authentication import Authenticator
from services.ingest.auth.claims import UnauthenticatedError
from services.ingest.batch_records import make_records
from services.ingest.batch_result import BatchResult
from services.ingest.batch_validation import BatchValidator
from services.ingest.call import Call, Response, StatusError
from services.ingest.errors import (
    delivery_error,
    invalid_argument,
    permission_denied,
    resource_exhausted,
    unauthenticated,
    unavailable,
)
from services.ingest.events.identity import format_identity
from services.ingest.events.records import Headers, Record, Records, receipt_milliseconds, stamp_one
from services.ingest.events.validation import BatchLimits, EventValidator
from services.ingest.events.violation_messages import FieldViolation
from services.ingest.events.wire import DecodeError, split_batch
from services.ingest.kafka.errors import DeliveryFailure
from services.ingest.limits.acknowledgements import AckMeter
from services.ingest.limits.event_admission import EventAdmission, ShedError
from services.ingest.limits.time_slices import TimeSlices
from services.ingest.metrics import SHED, IngestMetrics
from services.ingest.outcomes import count_batch, count_unacknowledged

# Tag and length of the field of a ProduceResponse, which is always the 36 characters of a UUID.
EVENT_ID_HEAD = ProduceResponse(event_id="0" * 36).SerializeToString()[:2]


class Publisher(Protocol):
    """Writes the records of accepted events."""

    def send(
        self, record: Record, headers: Headers | None, on_report: Callable[[DeliveryFailure | None], None]
    ) -> None:
        """Write one record; call `on_report` once, now or later in the event loop, with its failure or None."""

    async def publish(self, records: Records, headers: Headers | None = None) -> dict[int, DeliveryFailure]:
        """Write all records; return the failures of those that were not acknowledged, by index."""


class IngestServicer:
    """The methods of IngestService. Requests are bytes, so that an event is stored exactly as it was sent.

    A method returns the response of a call, or raises StatusError.
    """

    def __init__(
        self,
        validator: EventValidator,
        limits: BatchLimits,
        publisher: Publisher,
        retry_seconds: float,
        authenticator: Authenticator | None = None,
        metrics: IngestMetrics | None = None,
        admission: EventAdmission | None = None,
    ) -> None:
        """Without `admission` any number of events may be in flight."""
        self.metrics = metrics or IngestMetrics()
        self._validator = validator
        self._limits = limits
        self._publisher = publisher
        self._retry_seconds = retry_seconds
        self._authenticator = authenticator
        self._admission = admission
        self._meter = admission.meter if admission else AckMeter()
        self._time_slices = TimeSlices()

    def start_produce(self, request: bytes, call: Call, finish: Callable[[Response | Exception], None]) -> None:
        """Start to store one event; `finish` is called once with the result, now or later in the event loop.

        Raise StatusError, and never call `finish`, if the event is not handed to Kafka.
        """
        user = self.authorized_user(call)
        self._admit(1, call)
        event, violations = self._validator.check(request)
        if violations:
            self.metrics.violations(violations)
            raise StatusError(invalid_argument(violations))
        if user is not None and not belongs_to(user, event):
            raise StatusError(permission_denied())
        identity, record = stamp_one(request, event, receipt_milliseconds())
        sending = call.span.sending(call.headers, events=1) if call.span is not None else None

        def on_report(failure: DeliveryFailure | None) -> None:
            result: Response | Exception
            if sending is not None:
                sending.end([failure] if failure else [])
            try:
                result = self._produced(identity, failure, call)
            except Exception as error:  # noqa: BLE001 -- the call would otherwise not be answered
                result = error
            finish(result)

        # Its report counts it, even if the call has ended before.
        call.are_events_counted = True
        try:
            self._publisher.send(record, sending.headers if sending else call.headers, on_report)
        except Exception:
            call.are_events_counted = False
            raise

    def _produced(self, identity: bytes, failure: DeliveryFailure | None, call: Call) -> Response | StatusError:
        """Return the result of an event from its delivery report."""
        if failure:
            call.unacknowledged([failure], 1)
            count_unacknowledged(self.metrics, [failure])
            return StatusError(delivery_error(failure, self._retry_seconds))
        self.metrics.accepted.value += 1
        return call.accepted(EVENT_ID_HEAD + format_identity(identity).encode(), accepted=1)

    async def produce(self, request: bytes, call: Call) -> Response:
        """Store one event and return its identity."""
        done: asyncio.Future[Response | Exception] = asyncio.get_running_loop().create_future()

        def finish(result: Response | Exception) -> None:
            # The future of a cancelled call is done.
            if not done.done():
                done.set_result(result)

        self.start_produce(request, call, finish)
        result = await done
        if isinstance(result, Exception):
            raise result
        return result

    async def batch_produce(self, request: bytes, call: Call) -> Response:
        """Validate all events of a batch, store the valid ones and list the others by index."""
        return await self.produce_batch(call, request, self.authorized_user(call))

    def authorized_user(self, call: Call) -> str | None:
        """Return the only user whose events the caller may send, None if any; raise StatusError without a token."""
        if self._authenticator is None:
            return None
        try:
            token = self._authenticator.verify(call.authorizations)
        except UnauthenticatedError as error:
            self.metrics.verdicts[error.verdict].value += 1
            if error.is_temporary:
                raise StatusError(unavailable(str(error), self._retry_seconds)) from None
            raise StatusError(unauthenticated(str(error))) from None
        self.metrics.valid_tokens.value += 1
        call.subject = token.caller
        return token.user

    def _admit(self, events: int, call: Call) -> None:
        """Raise StatusError if the events of a call are refused before they are validated."""
        if self._admission is None:
            return
        try:
            self._admission.check(events, call)
        except ShedError as error:
            call.are_events_counted = True
            self.metrics.outcomes[SHED].value += events
            refused = resource_exhausted if error.is_share else unavailable
            raise StatusError(refused(str(error), error.retry_seconds)) from None

    async def produce_batch(self, call: Call, request: bytes, user: str | None) -> Response:
        """Do what `batch_produce` does, for an authenticated call."""
        encoded = self._split(request)
        total = len(encoded)
        self._admit(total, call)
        result = BatchResult(total, self._retry_seconds)
        self._meter.reserve(total)
        try:
            records, indexes = await self._records(request, list(encoded), user, result)
        finally:
            # What is valid is counted by the publisher from here on.
            self._meter.cancel(total)
        failures = await self._publish(records, call) if records else {}
        result.failed = {indexes[position]: failure for position, failure in failures.items()}
        count_batch(self.metrics, result)
        call.are_events_counted = True
        if error := result.error():
            raise StatusError(error)
        response = await result.response(self._time_slices)
        return call.accepted(response.SerializeToString(), response.accepted, len(response.rejected))

    async def _records(
        self, request: bytes, encoded: list[bytes], user: str | None, result: BatchResult
    ) -> tuple[Records, Sequence[int]]:
        """Validate a batch; return the records of the accepted events, and their indexes."""
        async with self._time_slices.acquire() as time_slice:
            keys = await BatchValidator(self._validator, result).validate(request, encoded, time_slice)
            if user is not None:
                result.denied = denied(user.encode(), keys.users, result)
            indexes = result.valid_indexes()
            if len(indexes) < len(encoded):
                encoded, keys = [encoded[at] for at in indexes], keys.selected(indexes)
            return await make_records(encoded, keys, time_slice), indexes

    def _split(self, request: bytes) -> Sequence[bytes]:
        try:
            encoded = split_batch(request)
        except DecodeError:
            raise self._invalid_batch("is not the Protobuf of a ugc.v1.EventBatch") from None
        low, high = self._limits.events_min, self._limits.events_max
        if not low <= len(encoded) <= high:
            raise self._invalid_batch(f"must have {low} to {high} events, not {len(encoded)}")
        self.metrics.batch_events.observe(len(encoded))
        return encoded

    def _invalid_batch(self, description: str) -> StatusError:
        problem = violation("events", description)
        self.metrics.violations([problem])
        return StatusError(invalid_argument([problem]))

    async def _publish(self, records: Records, call: Call) -> dict[int, DeliveryFailure]:
        if call.span is None:
            failures = await self._publisher.publish(records, call.headers)
        else:
            with call.span.sending(call.headers, len(records)) as sending:
                failures = await self._publisher.publish(records, sending.headers)
                sending.failures = failures.values()
        if failures:
            call.unacknowledged(failures.values(), len(records))
        return failures


def denied(user: bytes, users: Sequence[bytes], result: BatchResult) -> set[int]:
    """Return the indexes of the valid events that are not of a user, whose UUID is given in lower case."""
    if users.count(user) == len(users):
        return set()
    return {index for index in result.valid_indexes() if users[index] != user}


def belongs_to(user: str, event: Event) -> bool:
    """Return whether an event is of a user, whose UUID is given in lower case."""
    return event.payload.user_id.lower() == user


def violation(field: str, description: str) -> FieldViolation:
    """Return the violation of a field."""
    return BadRequest.FieldViolation(field=field, description=description)
