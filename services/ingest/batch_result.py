"""The result of a batch: which events were rejected and why, and the response or the error made of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from google.rpc.status_pb2 import Status
from ugc.v1.ingest_service_pb2 import BatchProduceResponse

from services.ingest.errors import (
    VIOLATIONS_MAX,
    at_index,
    delivery_error,
    invalid_argument,
    permission_denied,
    subject_violation,
    unexplained,
)
from services.ingest.events.violation_messages import WHOLE, FieldViolation
from services.ingest.kafka.errors import DeliveryFailure, Remedy
from services.ingest.limits.time_slices import TimeSlices

# By default a gRPC client accepts responses of up to 4 MiB; 9,999 rejected events with all details are larger.
DETAILED_BYTES_MAX = 1_000_000


class BatchResult:
    """The rejected events of a batch, by index and by what a client should do about them."""

    def __init__(self, total: int, retry_seconds: float) -> None:
        self._total = total
        self._retry_seconds = retry_seconds
        self.invalid: dict[int, list[FieldViolation]] = {}
        # Invalid too, but after so many others that their violations are not explained.
        self.unexplained: set[int] = set()
        # Whether `invalid` has all violations of its events, not only the first of some.
        self.is_count_exact = True
        self.denied: set[int] = set()
        self.failed: dict[int, DeliveryFailure] = {}

    @property
    def accepted(self) -> int:
        """The number of events that are stored in Kafka."""
        return self._total - len(self.invalid) - len(self.unexplained) - len(self.denied) - len(self.failed)

    @property
    def is_complete(self) -> bool:
        """Whether all events are stored in Kafka."""
        return self.accepted == self._total

    def valid_indexes(self) -> Sequence[int]:
        """Return the indexes of the events that validation and authorization have not rejected."""
        rejected = self.invalid.keys() | self.unexplained | self.denied
        if not rejected:
            return range(self._total)
        return [index for index in range(self._total) if index not in rejected]

    def error(self) -> Status | None:
        """Return the error that answers the request if no event was accepted, None otherwise.

        A failure that a retry can resolve has priority, then one that the client has to resolve. PERMISSION_DENIED is
        returned only if all events were denied.
        """
        if self.accepted:
            return None
        failures = self.failed.values()
        for remedy in (Remedy.RETRY, Remedy.FIX_SERVER):
            if failure := next((each for each in failures if each.remedy is remedy), None):
                return delivery_error(failure, self._retry_seconds)
        if self.invalid or self.unexplained or self.failed:
            explained = sum(map(len, self.invalid.values())) + len(self.denied) + len(self.failed)
            return invalid_argument(
                list(islice(self._all_violations(), VIOLATIONS_MAX)),
                explained + len(self.unexplained),
                is_total_exact=self.is_count_exact and not self.unexplained,
            )
        return permission_denied()

    async def response(self, time_slices: TimeSlices) -> BatchProduceResponse:
        """Return the response if any event was accepted, with the error of each rejected event by index."""
        response = BatchProduceResponse(accepted=self.accepted)
        if not self.is_complete:
            async with time_slices.acquire() as time_slice:
                for index, error in self._errors():
                    response.rejected.add(index=index, error=error)
                    if time_slice.is_expired:
                        await time_slice.renew()
        return response

    def _errors(self) -> Iterator[tuple[int, Status]]:
        """Return the errors of the rejected events in order; events with the same error share one object."""
        shared = dict.fromkeys(self.unexplained, unexplained()) | dict.fromkeys(self.denied, permission_denied())
        reasons = {each: delivery_error(each, self._retry_seconds) for each in set(self.failed.values())}
        shared |= {index: reasons[each] for index, each in self.failed.items()}
        detailed_bytes = 0
        for index in sorted(self.invalid.keys() | shared.keys()):
            if index in shared:
                yield index, shared[index]
                continue
            error = invalid_argument(self.invalid[index])
            if detailed_bytes > DETAILED_BYTES_MAX:
                # The message still has the first violation and the number of the others.
                del error.details[:]
            detailed_bytes += error.ByteSize()
            yield index, error

    def _all_violations(self) -> Iterator[FieldViolation]:
        for index in sorted(self.invalid.keys() | self.denied | self.failed.keys()):
            if failure := self.failed.get(index):
                yield from at_index(index, [FieldViolation(field=WHOLE, description=failure.reason)])
            else:
                yield from at_index(index, self.invalid.get(index) or [subject_violation()])
