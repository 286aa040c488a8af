"""What became of each event of a batch, and the one answer that says it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from google.rpc.status_pb2 import Status
from ugc.v1.ingest_service_pb2 import BatchProduceResponse

from services.ingest.errors import VIOLATIONS_MAX, denied, invalid, not_the_subject, unavailable, within
from services.ingest.words import FieldViolation

# A gRPC client takes answers of up to 4 MiB unless told otherwise, and 9,999 refusals with all their details are more.
DETAILED_BYTES_MAX = 1_000_000


class Verdicts:
    """The events of a batch that were not accepted, by index and by what their senders shall do about it."""

    def __init__(self, total: int, retry_seconds: float) -> None:
        self._total = total
        self._retry_seconds = retry_seconds
        self.invalid: dict[int, list[FieldViolation]] = {}
        self.denied: set[int] = set()
        self.failed: dict[int, str] = {}

    @property
    def accepted(self) -> int:
        """How many events are stored."""
        return self._total - len(self.invalid) - len(self.denied) - len(self.failed)

    def open(self) -> list[int]:
        """Return the indexes of those events that nothing is wrong with so far."""
        return [index for index in range(self._total) if index not in self.invalid and index not in self.denied]

    def overall(self) -> Status | None:
        """Return the error that is the answer when no event was accepted.

        What can be sent again comes first, then what must be mended; it is PERMISSION_DENIED only when that alone
        is wrong.
        """
        if self.accepted:
            return None
        if self.failed:
            return unavailable(next(iter(self.failed.values())), self._retry_seconds)
        if self.invalid:
            total = sum(map(len, self.invalid.values())) + len(self.denied)
            return invalid(list(islice(self._all_violations(), VIOLATIONS_MAX)), total)
        return denied()

    def response(self) -> BatchProduceResponse:
        """Return the answer when some or all were accepted: the verdict of each other event, in their order."""
        errors = {index: invalid(violations) for index, violations in self.invalid.items()}
        errors |= {index: denied() for index in self.denied}
        errors |= {index: unavailable(reason, self._retry_seconds) for index, reason in self.failed.items()}
        response = BatchProduceResponse(accepted=self.accepted)
        detailed_bytes = 0
        for index in sorted(errors):
            if detailed_bytes > DETAILED_BYTES_MAX:
                # The message still names the first field, and says how many more there are.
                del errors[index].details[:]
            detailed_bytes += errors[index].ByteSize()
            response.rejected.add(index=index, error=errors[index])
        return response

    def _all_violations(self) -> Iterator[FieldViolation]:
        for index in sorted(self.invalid.keys() | self.denied):
            yield from within(index, self.invalid.get(index) or [not_the_subject()])
