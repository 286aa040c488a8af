"""IngestService: what Produce and BatchProduce do with a request. Nothing is answered OK before Kafka has it."""

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
from services.ingest.batches import BatchCheck
from services.ingest.call import Call, Context
from services.ingest.errors import denied, invalid, unacknowledged, unauthenticated
from services.ingest.events.identity import format_identity
from services.ingest.events.records import Headers, Record, receipt_milliseconds, stamp
from services.ingest.events.validation import BatchLimits, EventValidator
from services.ingest.events.violation_messages import FieldViolation
from services.ingest.events.wire import DecodeError, split_batch
from services.ingest.kafka.undelivered import Undelivered
from services.ingest.limits.turns import Turn, Turns
from services.ingest.verdicts import Verdicts

# Events whose records are made between two looks at the clock.
EVENTS_PER_LOOK = 250


class Publisher(Protocol):
    """Where accepted events go."""

    async def publish(self, records: Sequence[Record], headers: Headers | None = None) -> dict[int, Undelivered]:
        """Write all records; return the reasons of those not acknowledged, by index."""


class IngestServicer:
    """The two calls. Requests arrive as bytes, so that an event is stored as it came."""

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
        self._turns = Turns()

    async def produce(self, request: bytes, context: Context) -> bytes:
        """Take one event: OK once Kafka has acknowledged it, else the error that says what to do."""
        call = Call(context)
        user = await self.user_bound(call)
        event, violations = self._validator.check(request)
        if violations:
            await call.fail(invalid(violations))
        if user is not None and not is_of(user, event):
            await call.fail(denied())
        (identity,), records = stamp([request], [event], receipt_milliseconds())
        failures = await self._publish(records, call.headers)
        if failures:
            await call.fail(unacknowledged(failures[0], self._retry_seconds))
        await call.succeed(accepted=1)
        return ProduceResponse(event_id=format_identity(identity)).SerializeToString()

    async def batch_produce(self, request: bytes, context: Context) -> bytes:
        """Take a batch: every event is validated, the good ones are written, the others listed by index."""
        call = Call(context)
        user = await self.user_bound(call)
        return await self.take_batch(call, request, user)

    async def user_bound(self, call: Call) -> str | None:
        """Return the one user whose events this caller may send, None when any; fail the call of a stranger."""
        if self._authenticator is None:
            return None
        try:
            return self._authenticator.user_bound(call.authorizations)
        except UnauthenticatedError as error:
            await call.fail(unauthenticated(str(error)))

    async def take_batch(self, call: Call, request: bytes, user: str | None) -> bytes:
        """Do what BatchProduce does, for a call whose caller is known."""
        encoded = await self._split(call, request)
        verdicts = Verdicts(len(encoded), self._retry_seconds)
        async with self._turns.turn() as turn:
            events = await BatchCheck(self._validator, verdicts).events(request, encoded, turn)
            if user is not None:
                verdicts.denied = {index for index in verdicts.open() if not is_of(user, events[index])}
            indexes = verdicts.open()
            if len(indexes) < len(encoded):
                encoded, events = [encoded[at] for at in indexes], [events[at] for at in indexes]
            records = await stamp_all(encoded, events, turn)
        failures = await self._publish(records, call.headers) if records else {}
        verdicts.failed = {indexes[position]: reason for position, reason in failures.items()}
        if error := verdicts.overall():
            await call.fail(error)
        response = await verdicts.response(self._turns)
        await call.succeed(response.accepted, len(response.rejected))
        return response.SerializeToString()

    async def _split(self, call: Call, request: bytes) -> list[bytes]:
        try:
            encoded = split_batch(request)
        except DecodeError:
            await call.fail(invalid([violation("events", "is not the Protobuf of a ugc.v1.EventBatch")]))
        low, high = self._limits.events_min, self._limits.events_max
        if not low <= len(encoded) <= high:
            problem = f"must have {low} to {high} events, not {len(encoded)}"
            await call.fail(invalid([violation("events", problem)]))
        return list(encoded)

    async def _publish(self, records: Sequence[Record], headers: Headers | None) -> dict[int, Undelivered]:
        failures = await self._publisher.publish(records, headers)
        if failures:
            reason = next(iter(failures.values())).reason
            values = {"events": len(failures), "of": len(records), "reason": reason}
            log_limited(logging.WARNING, "events were not acknowledged", **values)
        return failures


async def stamp_all(encoded: Sequence[bytes], events: Sequence[Event], turn: Turn) -> list[Record]:
    """Make the records of a batch."""
    now = receipt_milliseconds()
    if len(encoded) <= EVENTS_PER_LOOK:
        return stamp(encoded, events, now)[1]
    records: list[Record] = []
    for start in range(0, len(encoded), EVENTS_PER_LOOK):
        some = slice(start, start + EVENTS_PER_LOOK)
        records += stamp(encoded[some], events[some], now)[1]
        if turn.is_over:
            await turn.rest()
    return records


def is_of(user: str, event: Event) -> bool:
    """Whether an event is the user's own; case is no difference between UUIDs."""
    return event.payload.user_id.lower() == user


def violation(field: str, description: str) -> FieldViolation:
    """Name a field of the request and what is wrong with it."""
    return BadRequest.FieldViolation(field=field, description=description)
