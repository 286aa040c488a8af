"""IngestService: what Produce and BatchProduce do with a request. Nothing is answered OK before Kafka has it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NoReturn, Protocol

import grpc
from google.rpc.error_details_pb2 import BadRequest
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status
from ugc.v1.event_pb2 import Event
from ugc.v1.ingest_service_pb2 import BatchProduceResponse, ProduceResponse, RejectedEvent

from services.ingest.errors import invalid, unavailable, within
from services.ingest.identity import format_identity, new_identities, parse_identity
from services.ingest.publisher import Record
from services.ingest.validation import BatchLimits, EventValidator, FieldViolation
from services.ingest.wire import DecodeError, received_at_bytes, record_bytes, split_batch

Context = grpc.aio.ServicerContext[bytes, bytes]
CREATED, MULTI_STATUS = "201", "207"
# The gateway's idiom for a success other than 200.
HTTP_CODE = "x-http-code"


class Publisher(Protocol):
    """Where accepted events go."""

    async def publish(self, records: Sequence[Record]) -> dict[int, str]:
        """Write all records; return the reasons of those not acknowledged, by index."""


class IngestServicer:
    """The two calls. Requests arrive as bytes, so that an event is stored as it came."""

    def __init__(
        self, validator: EventValidator, limits: BatchLimits, publisher: Publisher, retry_seconds: float
    ) -> None:
        self._validator = validator
        self._limits = limits
        self._publisher = publisher
        self._retry_seconds = retry_seconds

    async def produce(self, request: bytes, context: Context) -> bytes:
        """Take one event: OK once Kafka has acknowledged it, else INVALID_ARGUMENT or UNAVAILABLE."""
        event, violations = self._validator.check(request)
        if violations:
            await abort(context, invalid(violations))
        (identity,), records = stamp([(request, event)])
        failures = await self._publisher.publish(records)
        if failures:
            await abort(context, unavailable(failures[0], self._retry_seconds))
        await context.send_initial_metadata(((HTTP_CODE, CREATED),))
        return ProduceResponse(event_id=format_identity(identity)).SerializeToString()

    async def batch_produce(self, request: bytes, context: Context) -> bytes:
        """Take a batch: every event is validated, the good ones are written, the others listed by index."""
        encoded = await self._split(request, context)
        refused: dict[int, list[FieldViolation]] = {}
        accepted: list[tuple[bytes, Event]] = []
        indexes: list[int] = []
        for index, one in enumerate(encoded):
            event, violations = self._validator.check(one)
            if violations:
                refused[index] = violations
            else:
                accepted.append((one, event))
                indexes.append(index)
        _, records = stamp(accepted)
        failures = await self._publisher.publish(records) if records else {}
        failed = {indexes[position]: reason for position, reason in failures.items()}
        return await self._answer_batch(context, len(encoded), refused, failed)

    async def _split(self, request: bytes, context: Context) -> list[bytes]:
        try:
            encoded = split_batch(request)
        except DecodeError:
            await abort(context, invalid([violation("events", "is not the Protobuf of a ugc.v1.EventBatch")]))
        low, high = self._limits.events_min, self._limits.events_max
        if not low <= len(encoded) <= high:
            problem = f"must have {low} to {high} events, not {len(encoded)}"
            await abort(context, invalid([violation("events", problem)]))
        return encoded

    async def _answer_batch(
        self, context: Context, total: int, refused: dict[int, list[FieldViolation]], failed: dict[int, str]
    ) -> bytes:
        """Answer with the verdict of each event, or with the error itself when none was accepted."""
        accepted = total - len(refused) - len(failed)
        if not accepted and failed:
            await abort(context, unavailable(next(iter(failed.values())), self._retry_seconds))
        if not accepted:
            await abort(context, invalid([each for index, of in refused.items() for each in within(index, of)]))
        errors = {index: invalid(violations) for index, violations in refused.items()}
        errors |= {index: unavailable(reason, self._retry_seconds) for index, reason in failed.items()}
        rejected = [RejectedEvent(index=index, error=errors[index]) for index in sorted(errors)]
        await context.send_initial_metadata(((HTTP_CODE, MULTI_STATUS if rejected else CREATED),))
        return BatchProduceResponse(accepted=accepted, rejected=rejected).SerializeToString()


def stamp(events: Sequence[tuple[bytes, Event]]) -> tuple[list[bytes], list[Record]]:
    """Give accepted events their identity and time of receipt: the identities, and the records for Kafka."""
    now = time.time_ns() // 1_000_000
    ending = received_at_bytes(now)
    fresh = iter(new_identities(sum(not event.event_id for _, event in events), now))
    identities = [parse_identity(event.event_id) if event.event_id else next(fresh) for _, event in events]
    return identities, [
        # Upper and lower case are the same user, so they must be the same key.
        Record(event.payload.user_id.lower().encode(), record_bytes(encoded, identity, ending))
        for (encoded, event), identity in zip(events, identities, strict=True)
    ]


def violation(field: str, description: str) -> FieldViolation:
    """Name a field of the request and what is wrong with it."""
    return BadRequest.FieldViolation(field=field, description=description)


async def abort(context: Context, status: Status) -> NoReturn:
    """End the call with a google.rpc.Status; UNAVAILABLE never comes with part of a result."""
    assert status.code  # noqa: S101 -- OK is not an error
    await context.abort_with_status(rpc_status.to_status(status))
