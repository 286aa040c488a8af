"""The errors that a client is answered with, as google.rpc.Status.

invalid(violations)   INVALID_ARGUMENT with BadRequest: drop the event, or mend it
unavailable(reason)   UNAVAILABLE with RetryInfo: send the event again after the delay
refused(reason)       FAILED_PRECONDITION: Kafka refuses it until an operator changes something; keep the event
exhausted(reason)     RESOURCE_EXHAUSTED with RetryInfo: too much is in work, send the request again after the delay
late(reason)          DEADLINE_EXCEEDED: the message did not arrive in time
denied()              PERMISSION_DENIED: the token speaks for another user than the event's
unauthenticated(why)  UNAUTHENTICATED: no token, or none that we trust
not_found(reason)     NOT_FOUND: a door that is closed
"""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc.code_pb2 import (
    DEADLINE_EXCEEDED,
    FAILED_PRECONDITION,
    INVALID_ARGUMENT,
    NOT_FOUND,
    PERMISSION_DENIED,
    RESOURCE_EXHAUSTED,
    UNAUTHENTICATED,
    UNAVAILABLE,
)
from google.rpc.error_details_pb2 import BadRequest, RetryInfo
from google.rpc.status_pb2 import Status

from services.ingest.kafka.undelivered import Remedy, Undelivered

# An error of a whole request travels in a header, and gRPC refuses headers of more than 8 KiB.
VIOLATIONS_MAX = 20
UNDESCRIBED = "the event is not valid; what is wrong is described for the first such events of a request"
USER = "payload.user_id"
NOT_THE_SUBJECT = "must be the subject of the token"
NANOSECONDS = 1_000_000_000


def invalid(
    violations: Sequence[BadRequest.FieldViolation], total: int | None = None, *, is_total_known: bool = True
) -> Status:
    """Say which fields were refused and why; beyond the 20th they are only counted, `total` when not all are given."""
    first, count = violations[0], total or len(violations)
    message = f"{first.field}: {first.description}"
    if count > 1:
        message += f" (and {'' if is_total_known else 'at least '}{count - 1} more)"
    detail = BadRequest(field_violations=violations[:VIOLATIONS_MAX])
    return Status(code=INVALID_ARGUMENT, message=message, details=[packed(detail)])


def invalid_without_description() -> Status:
    """Return the verdict of an event that is not valid, in a request that has had its share of descriptions."""
    return Status(code=INVALID_ARGUMENT, message=UNDESCRIBED)


def unavailable(reason: str, retry_seconds: float) -> Status:
    """Say that the event was not acknowledged by Kafka, and when to send it again."""
    return Status(code=UNAVAILABLE, message=reason, details=[retry_after(retry_seconds)])


def refused(reason: str) -> Status:
    """Say that Kafka refuses what ingest writes, which sending again does not change."""
    return Status(code=FAILED_PRECONDITION, message=reason)


def unacknowledged(failure: Undelivered, retry_seconds: float) -> Status:
    """Return the verdict of an event that Kafka has not acknowledged."""
    if failure.remedy is Remedy.MAKE_SMALLER:
        return invalid([BadRequest.FieldViolation(field="event", description=failure.reason)])
    if failure.remedy is Remedy.MEND_THE_SERVER:
        return refused(failure.reason)
    return unavailable(failure.reason, retry_seconds)


def exhausted(reason: str, retry_seconds: float) -> Status:
    """Return the refusal of a request that there is no room for at present, with the delay to send it again after."""
    return Status(code=RESOURCE_EXHAUSTED, message=reason, details=[retry_after(retry_seconds)])


def late(reason: str) -> Status:
    """Return the end of a call whose message did not arrive in time."""
    return Status(code=DEADLINE_EXCEEDED, message=reason)


def retry_after(seconds: float) -> Any:
    """Return the detail that names a delay."""
    whole = int(seconds)
    delay = Duration(seconds=whole, nanos=round((seconds - whole) * NANOSECONDS))
    return packed(RetryInfo(retry_delay=delay))


def denied() -> Status:
    """Say that the token is good, but of another user than the event."""
    return Status(code=PERMISSION_DENIED, message=f"{USER}: {NOT_THE_SUBJECT}")


def not_the_subject() -> BadRequest.FieldViolation:
    """Say the same as a violation, for a list that has others."""
    return BadRequest.FieldViolation(field=USER, description=NOT_THE_SUBJECT)


def unauthenticated(reason: str) -> Status:
    """Say why the caller is not known."""
    return Status(code=UNAUTHENTICATED, message=reason)


def not_found(reason: str) -> Status:
    """Say that there is nothing behind this method, and how there could be."""
    return Status(code=NOT_FOUND, message=reason)


def within(index: int, violations: Sequence[BadRequest.FieldViolation]) -> list[BadRequest.FieldViolation]:
    """Name the same fields as seen from the batch: `events[3].payload.movie_id`."""
    return [
        BadRequest.FieldViolation(
            # A violation of the event as a whole is named `event`; within a batch the index says it.
            field=f"events[{index}]" + ("" if violation.field == "event" else f".{violation.field}"),
            description=violation.description,
        )
        for violation in violations
    ]


def packed(message: Message) -> Any:
    """Wrap a detail as google.protobuf.Any."""
    wrapped = Any()
    wrapped.Pack(message)
    return wrapped
