"""Validation of a batch: in parts, a valid part as a whole and an invalid one event by event, at a bounded cost.

Violations are explained only for the first invalid events of a request, because an explanation costs ten times as much
as finding that an event is invalid.
"""

from __future__ import annotations

from collections.abc import Sequence

from ugc.v1.event_pb2 import Event

from services.ingest.batch_result import BatchResult
from services.ingest.errors import VIOLATIONS_MAX
from services.ingest.events.identity import parse_identity
from services.ingest.events.records import EventKeys, key_of
from services.ingest.events.validation import EventValidator
from services.ingest.events.violation_messages import FieldViolation
from services.ingest.events.wire import join_batch
from services.ingest.limits.time_slices import TimeSlice

# Events and approximate bytes of a part; the time slice is checked after each part.
PART_EVENTS_MAX = 500
PART_EVENTS_MIN = 16
PART_BYTES = 262_144
# Events of which the first violation is explained, after those of which all are.
EVENTS_BRIEFLY_EXPLAINED_MAX = 100
# Bytes of an EventBatch beside an event: a tag, and a length of at most five bytes.
FRAMING_BYTES = 6
# The keys of an invalid event.
NO_KEYS = (b"", b"")


class BatchValidator:
    """Validates the events of one batch, and adds the invalid ones to its result."""

    def __init__(self, validator: EventValidator, result: BatchResult) -> None:
        self._validator = validator
        self._result = result
        self._violations = 0
        self._briefly_explained = 0
        # The last event that was explained in full: clients often repeat one mistake in many events.
        self._explained: tuple[bytes, Event, list[FieldViolation]] = (b"", Event(), [])

    async def validate(self, request: bytes, encoded: Sequence[bytes], time_slice: TimeSlice) -> EventKeys:
        """Return the keys of all events of a batch, empty for the invalid ones; `encoded` are the bytes of each."""
        largest = max(map(len, encoded))
        size = part_size(largest)
        if len(encoded) <= size:
            # A request may have fields that an EventBatch does not have; as a part it would have no limit.
            batch = request if len(request) <= size * (largest + FRAMING_BYTES) else join_batch(encoded)
            keys = self._validator.check_part(batch, len(encoded), largest)
            return keys or await self._check_each(0, encoded, time_slice)
        users: list[bytes] = []
        identities: list[bytes] = []
        for start in range(0, len(encoded), size):
            part = encoded[start : start + size]
            keys = self._validator.check_part(join_batch(part), len(part), largest)
            keys = keys or await self._check_each(start, part, time_slice)
            users += keys.users
            identities += keys.identities
            if time_slice.is_expired:
                await time_slice.renew()
        return EventKeys(users, identities)

    async def _check_each(self, start: int, encoded: Sequence[bytes], time_slice: TimeSlice) -> EventKeys:
        keys = EventKeys([], [])
        for index, one in enumerate(encoded, start):
            user, identity = self._check(index, one)
            keys.users.append(user)
            keys.identities.append(identity)
            if time_slice.is_expired:
                await time_slice.renew()
        return keys

    def _check(self, index: int, encoded: bytes) -> tuple[bytes, bytes]:
        """Return the keys of an event, and explain its violations as far as the limits of the request allow."""
        if self._violations < VIOLATIONS_MAX:
            event, violations = self._validator.check(encoded)
            self._violations += len(violations)
            self._explained = encoded, event, violations
        elif self._briefly_explained < EVENTS_BRIEFLY_EXPLAINED_MAX:
            event, violations = self._check_briefly(encoded)
            self._briefly_explained += bool(violations)
        else:
            event, is_valid = self._validator.check_validity(encoded)
            violations = []
            if not is_valid:
                self._result.unexplained.add(index)
                return NO_KEYS
        if violations:
            self._result.invalid[index] = violations
            return NO_KEYS
        return key_of(event), parse_identity(event.event_id)

    def _check_briefly(self, encoded: bytes) -> tuple[Event, list[FieldViolation]]:
        """Return an event and its violations: all if the event was explained before, otherwise the first."""
        explained, event, violations = self._explained
        if encoded == explained:
            return event, violations
        event, violations = self._validator.check(encoded, first_only=True)
        # There may be more of them.
        self._result.is_count_exact &= not violations
        return event, violations


def part_size(event_bytes_max: int) -> int:
    """Return how many events are validated as one part."""
    return max(PART_EVENTS_MIN, min(PART_EVENTS_MAX, PART_BYTES // max(event_bytes_max, 1)))
