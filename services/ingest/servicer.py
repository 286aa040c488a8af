"""IngestService: validates the events of a request, writes them to Kafka, and answers OK only after Kafka's ack."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Protocol

from google.rpc.error_details_pb2 import BadRequest
from ugc.v1.event_pb2 import Event
from ugc.v1.ingest_service_pb2 import ProduceResponse

from common.logs import log_limited
from services.ingest.auth.authentication import Authenticator
from services.ingest.auth.claims import UnauthenticatedError
from services.ingest.batch_result import BatchResult
from services.ingest.batch_validation import BatchValidator
from services.ingest.call import Call, Context
from services.ingest.errors import delivery_error, invalid_argument, permission_denied, unauthenticated
from services.ingest.events.identity import format_identity
from services.ingest.events.records import Headers, Record, receipt_milliseconds, stamp
from services.ingest.events.validation import BatchLimits, EventValidator
from services.ingest.events.violation_messages import FieldViolation
from services.ingest.events.wire import DecodeError, split_batch
from services.ingest.kafka.errors import DeliveryFailure
from services.ingest.limits.time_slices import TimeSlice, TimeSlices

# Events whose records are made between two checks of the time slice.
EVENTS_PER_CHECK = 250


class Publisher(Protocol):
    """Writes the records of accepted events."""

    async def publish(self, records: Sequence[Record], headers: Headers | None = None) -> dict[int, DeliveryFailure]:
        """Write all records; return the failures of those that were not acknowledged, by index."""


class IngestServicer:
    """The methods of IngestService. Requests are bytes, so that an event is stored exactly as it was sent."""

    def __init__(
        self,
        validator: EventValidator,
        limits: BatchLimits,
        publisher: Publisher,
        retry_seconds: float,
        authenticator: Authenticator | None = None,
    ) -> None:
        self._validator = validator
        self._limits = limits
        self._publisher = publisher
        self._retry_seconds = retry_seconds
        self._authenticator = authenticator
        self._time_slices = TimeSlices()

    async def produce(self, request: bytes, context: Context) -> bytes:
        """Store one event and return its identity, or fail the call with what the client should do."""
        call = Call(context)
        user = await self.authorized_user(call)
        event, violations = self._validator.check(request)
        if violations:
            await call.fail(invalid_argument(violations))
        if user is not None and not belongs_to(user, event):
            await call.fail(permission_denied())
        (identity,), records = stamp([request], [event], receipt_milliseconds())
        failures = await self._publish(records, call.headers)
        if failures:
            await call.fail(delivery_error(failures[0], self._retry_seconds))
        await call.succeed(accepted=1)
        return ProduceResponse(event_id=format_identity(identity)).SerializeToString()

    async def batch_produce(self, request: bytes, context: Context) -> bytes:
        """Validate all events of a batch, store the valid ones and list the others by index."""
        call = Call(context)
        user = await self.authorized_user(call)
        return await self.produce_batch(call, request, user)

    async def authorized_user(self, call: Call) -> str | None:
        """Return the only user whose events the caller may send, None if any; fail the call without a valid token."""
        if self._authenticator is None:
            return None
        try:
            return self._authenticator.authenticate(call.authorizations)
        except UnauthenticatedError as error:
            await call.fail(unauthenticated(str(error)))

    async def produce_batch(self, call: Call, request: bytes, user: str | None) -> bytes:
        """Do what `batch_produce` does, for an authenticated call."""
        encoded = await self._split(call, request)
        result = BatchResult(len(encoded), self._retry_seconds)
        async with self._time_slices.acquire() as time_slice:
            events = await BatchValidator(self._validator, result).validate(request, encoded, time_slice)
            if user is not None:
                result.denied = {index for index in result.valid_indexes() if not belongs_to(user, events[index])}
            indexes = result.valid_indexes()
            if len(indexes) < len(encoded):
                encoded, events = [encoded[at] for at in indexes], [events[at] for at in indexes]
            records = await make_records(encoded, events, time_slice)
        failures = await self._publish(records, call.headers) if records else {}
        result.failed = {indexes[position]: failure for position, failure in failures.items()}
        if error := result.error():
            await call.fail(error)
        response = await result.response(self._time_slices)
        await call.succeed(response.accepted, len(response.rejected))
        return response.SerializeToString()

    async def _split(self, call: Call, request: bytes) -> list[bytes]:
        try:
            encoded = split_batch(request)
        except DecodeError:
            await call.fail(invalid_argument([violation("events", "is not the Protobuf of a ugc.v1.EventBatch")]))
        low, high = self._limits.events_min, self._limits.events_max
        if not low <= len(encoded) <= high:
            problem = f"must have {low} to {high} events, not {len(encoded)}"
            await call.fail(invalid_argument([violation("events", problem)]))
        return list(encoded)

    async def _publish(self, records: Sequence[Record], headers: Headers | None) -> dict[int, DeliveryFailure]:
        failures = await self._publisher.publish(records, headers)
        if failures:
            reason = next(iter(failures.values())).reason
            values = {"events": len(failures), "of": len(records), "reason": reason}
            log_limited(logging.WARNING, "events were not acknowledged", **values)
        return failures


async def make_records(encoded: Sequence[bytes], events: Sequence[Event], time_slice: TimeSlice) -> list[Record]:
    """Return the records of the accepted events of a batch."""
    now = receipt_milliseconds()
    if len(encoded) <= EVENTS_PER_CHECK:
        return stamp(encoded, events, now)[1]
    records: list[Record] = []
    for start in range(0, len(encoded), EVENTS_PER_CHECK):
        part = slice(start, start + EVENTS_PER_CHECK)
        records += stamp(encoded[part], events[part], now)[1]
        if time_slice.is_expired:
            await time_slice.renew()
    return records


def belongs_to(user: str, event: Event) -> bool:
    """Return whether an event is of a user, whose UUID is given in lower case."""
    return event.payload.user_id.lower() == user


def violation(field: str, description: str) -> FieldViolation:
    """Return the violation of a field."""
    return BadRequest.FieldViolation(field=field, description=description)
