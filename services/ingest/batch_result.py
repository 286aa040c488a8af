"""What became of each event of a batch, and the one answer that says it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from google.rpc.status_pb2 import Status
from ugc.v1.ingest_service_pb2 import BatchProduceResponse

from services.ingest.errors import (
    VIOLATIONS_MAX,
    denied,
    invalid,
    invalid_without_description,
    not_the_subject,
    unacknowledged,
    within,
)
from services.ingest.events.violation_messages import WHOLE, FieldViolation
from services.ingest.kafka.undelivered import Remedy, Undelivered
from services.ingest.limits.turns import Turns

# A gRPC client takes answers of up to 4 MiB unless told otherwise, and 9,999 refusals with all their details are more.
DETAILED_BYTES_MAX = 1_000_000


class Verdicts:
    """The events of a batch that were not accepted, by index and by what their senders shall do about it."""

    def __init__(self, total: int, retry_seconds: float) -> None:
        self._total = total
        self._retry_seconds = retry_seconds
        self.invalid: dict[int, list[FieldViolation]] = {}
        # Not valid either, after so many that what is wrong with them is not described.
        self.undescribed: set[int] = set()
        # Whether `invalid` has every violation of its events.
        self.is_total_known = True
        self.denied: set[int] = set()
        self.failed: dict[int, Undelivered] = {}

    @property
    def accepted(self) -> int:
        """How many events are stored."""
        return self._total - len(self.invalid) - len(self.undescribed) - len(self.denied) - len(self.failed)

    def open(self) -> Sequence[int]:
        """Return the indexes of those events that nothing is wrong with so far."""
        closed = self.invalid.keys() | self.undescribed | self.denied
        if not closed:
            return range(self._total)
        return [index for index in range(self._total) if index not in closed]

    def overall(self) -> Status | None:
        """Return the error that is the answer when no event was accepted.

        What can be sent again comes first, then what must be mended; it is PERMISSION_DENIED only when that alone
        is wrong.
        """
        if self.accepted:
            return None
        failures = self.failed.values()
        for remedy in (Remedy.SEND_AGAIN, Remedy.MEND_THE_SERVER):
            if failure := next((each for each in failures if each.remedy is remedy), None):
                return unacknowledged(failure, self._retry_seconds)
        if self.invalid or self.undescribed or self.failed:
            known = sum(map(len, self.invalid.values())) + len(self.denied) + len(self.failed)
            first = list(islice(self._all_violations(), VIOLATIONS_MAX))
            return invalid(
                first, known + len(self.undescribed), is_total_known=self.is_total_known and not self.undescribed
            )
        return denied()

    async def response(self, turns: Turns) -> BatchProduceResponse:
        """Return the answer when some or all were accepted: the verdict of each other event, in their order."""
        response = BatchProduceResponse(accepted=self.accepted)
        if self.accepted < self._total:
            async with turns.turn() as turn:
                for index, error in self._errors():
                    response.rejected.add(index=index, error=error)
                    if turn.is_over:
                        await turn.rest()
        return response

    def _errors(self) -> Iterator[tuple[int, Status]]:
        """Return the verdicts of the events that were not accepted; most share theirs."""
        shared = dict.fromkeys(self.undescribed, invalid_without_description()) | dict.fromkeys(self.denied, denied())
        reasons = {each: unacknowledged(each, self._retry_seconds) for each in set(self.failed.values())}
        shared |= {index: reasons[each] for index, each in self.failed.items()}
        detailed_bytes = 0
        for index in sorted(self.invalid.keys() | shared.keys()):
            if index in shared:
                yield index, shared[index]
                continue
            error = invalid(self.invalid[index])
            if detailed_bytes > DETAILED_BYTES_MAX:
                # The message still names the first field, and counts the others.
                del error.details[:]
            detailed_bytes += error.ByteSize()
            yield index, error

    def _all_violations(self) -> Iterator[FieldViolation]:
        for index in sorted(self.invalid.keys() | self.denied | self.failed.keys()):
            if failure := self.failed.get(index):
                yield from within(index, [FieldViolation(field=WHOLE, description=failure.reason)])
            else:
                yield from within(index, self.invalid.get(index) or [not_the_subject()])
