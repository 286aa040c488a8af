"""What became of each event of a batch, and the one answer that says it."""

from __future__ import annotations

from collections.abc import Sequence

from google.rpc.status_pb2 import Status
from ugc.v1.ingest_service_pb2 import BatchProduceResponse, RejectedEvent

from services.ingest.errors import denied, invalid, not_the_subject, unavailable, within
from services.ingest.words import FieldViolation


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
            return invalid(self._all_violations())
        return denied()

    def response(self) -> BatchProduceResponse:
        """Return the answer when some or all were accepted: the verdict of each other event, in their order."""
        errors = {index: invalid(violations) for index, violations in self.invalid.items()}
        errors |= {index: denied() for index in self.denied}
        errors |= {index: unavailable(reason, self._retry_seconds) for index, reason in self.failed.items()}
        rejected = [RejectedEvent(index=index, error=errors[index]) for index in sorted(errors)]
        return BatchProduceResponse(accepted=self.accepted, rejected=rejected)

    def _all_violations(self) -> Sequence[FieldViolation]:
        by_index = self.invalid | {index: [not_the_subject()] for index in self.denied}
        return [violation for index in sorted(by_index) for violation in within(index, by_index[index])]
