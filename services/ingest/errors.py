"""The errors that ingest returns to clients, as google.rpc.Status.

invalid_argument(violations)  INVALID_ARGUMENT with BadRequest: correct the event or drop it
unavailable(reason)           UNAVAILABLE with RetryInfo: retry the event after the delay
failed_precondition(reason)   FAILED_PRECONDITION: Kafka rejects the event until an operator acts; keep it
resource_exhausted(reason)    RESOURCE_EXHAUSTED with RetryInfo: a limit is reached; retry the request after the delay
deadline_exceeded(reason)     DEADLINE_EXCEEDED: the message did not arrive in time
permission_denied()           PERMISSION_DENIED: the token belongs to another user than the event
unauthenticated(reason)       UNAUTHENTICATED: the token is missing or not valid
not_found(reason)             NOT_FOUND: the method is disabled
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

from services.ingest.kafka.errors import DeliveryFailure, Remedy

# The error of a whole request is sent in a header, and gRPC rejects headers of more than 8 KiB.
VIOLATIONS_MAX = 20
UNEXPLAINED = "the event is not valid; violations are described only for the first invalid events of a request"
USER = "payload.user_id"
NOT_THE_SUBJECT = "must be the subject of the token"
NANOSECONDS = 1_000_000_000


def invalid_argument(
    violations: Sequence[BadRequest.FieldViolation], total: int | None = None, *, is_total_exact: bool = True
) -> Status:
    """Return the error of invalid fields; it lists 20 and counts the others, as `total` if not all are given."""
    first, count = violations[0], total or len(violations)
    message = f"{first.field}: {first.description}"
    if count > 1:
        message += f" (and {'' if is_total_exact else 'at least '}{count - 1} more)"
    detail = BadRequest(field_violations=violations[:VIOLATIONS_MAX])
    return Status(code=INVALID_ARGUMENT, message=message, details=[packed(detail)])


def unexplained() -> Status:
    """Return the error of an invalid event after so many others that its violations are not explained."""
    return Status(code=INVALID_ARGUMENT, message=UNEXPLAINED)


def unavailable(reason: str, retry_seconds: float) -> Status:
    """Return the error of an event that Kafka has not acknowledged, with the delay of a retry."""
    return Status(code=UNAVAILABLE, message=reason, details=[retry_after(retry_seconds)])


def failed_precondition(reason: str) -> Status:
    """Return the error of an event that Kafka rejects whenever it is sent."""
    return Status(code=FAILED_PRECONDITION, message=reason)


def delivery_error(failure: DeliveryFailure, retry_seconds: float) -> Status:
    """Return the error of an event that Kafka has not acknowledged, according to its remedy."""
    if failure.remedy is Remedy.REDUCE_SIZE:
        return invalid_argument([BadRequest.FieldViolation(field="event", description=failure.reason)])
    if failure.remedy is Remedy.FIX_SERVER:
        return failed_precondition(failure.reason)
    return unavailable(failure.reason, retry_seconds)


def resource_exhausted(reason: str, retry_seconds: float) -> Status:
    """Return the error of a request for which a limit leaves no room, with the delay of a retry."""
    return Status(code=RESOURCE_EXHAUSTED, message=reason, details=[retry_after(retry_seconds)])


def deadline_exceeded(reason: str) -> Status:
    """Return the error of a call whose message did not arrive in time."""
    return Status(code=DEADLINE_EXCEEDED, message=reason)


def retry_after(seconds: float) -> Any:
    """Return the RetryInfo of a delay, as an error detail."""
    whole, nanos = divmod(round(seconds * NANOSECONDS), NANOSECONDS)
    delay = Duration(seconds=whole, nanos=nanos)
    return packed(RetryInfo(retry_delay=delay))


def permission_denied() -> Status:
    """Return the error of an event of another user than the token's."""
    return Status(code=PERMISSION_DENIED, message=f"{USER}: {NOT_THE_SUBJECT}")


def subject_violation() -> BadRequest.FieldViolation:
    """Return the same error as a violation, for a list with others."""
    return BadRequest.FieldViolation(field=USER, description=NOT_THE_SUBJECT)


def unauthenticated(reason: str) -> Status:
    """Return the error of a call without a valid token."""
    return Status(code=UNAUTHENTICATED, message=reason)


def not_found(reason: str) -> Status:
    """Return the error of a disabled method."""
    return Status(code=NOT_FOUND, message=reason)


def at_index(index: int, violations: Sequence[BadRequest.FieldViolation]) -> list[BadRequest.FieldViolation]:
    """Return violations of an event with the paths of its batch: `events[3].payload.movie_id`."""
    return [
        BadRequest.FieldViolation(
            # A violation of the event as a whole has the path `event`, which the index replaces.
            field=f"events[{index}]" + ("" if violation.field == "event" else f".{violation.field}"),
            description=violation.description,
        )
        for violation in violations
    ]


def packed(message: Message) -> Any:
    """Return an error detail as google.protobuf.Any."""
    wrapped = Any()
    wrapped.Pack(message)
    return wrapped
