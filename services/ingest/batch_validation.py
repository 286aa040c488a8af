"""A batch is checked in parts: a good part as a whole, a bad one event by event, with a bound to what that costs.

What is wrong is explained for the first violations of a request only; an explanation costs ten times what it takes to
find that an event is not valid.
"""

from __future__ import annotations

from collections.abc import Sequence

from ugc.v1.event_pb2 import Event

from services.ingest.errors import VIOLATIONS_MAX
from services.ingest.events.validation import EventValidator
from services.ingest.events.violation_messages import FieldViolation
from services.ingest.events.wire import join_batch
from services.ingest.limits.turns import Turn
from services.ingest.verdicts import Verdicts

# What is checked between two looks at the clock, in events and about so many bytes.
PART_EVENTS_MAX = 500
PART_EVENTS_MIN = 16
PART_BYTES = 262_144
# Events of which the first violation is explained, after the violations that are explained in full.
EVENTS_NAMED_MAX = 100


class BatchCheck:
    """Checks the events of one batch, and notes the verdicts of those that are not valid."""

    def __init__(self, validator: EventValidator, verdicts: Verdicts) -> None:
        self._validator = validator
        self._verdicts = verdicts
        self._violations = 0
        self._named = 0
        # What is wrong with the last event that was explained in full: clients often send the same mistake many times.
        self._explained: tuple[bytes, Event, list[FieldViolation]] = (b"", Event(), [])

    async def events(self, request: bytes, encoded: Sequence[bytes], turn: Turn) -> Sequence[Event]:
        """Return all events of a batch, those that are not valid among them; `encoded` are the bytes of each."""
        largest = max(map(len, encoded))
        size = part_size(largest)
        if len(encoded) <= size:
            good = self._validator.check_part(request, largest)
            return await self._check_each(0, encoded, turn) if good is None else good
        events: list[Event] = []
        for start in range(0, len(encoded), size):
            part = encoded[start : start + size]
            good = self._validator.check_part(join_batch(part), largest)
            events += await self._check_each(start, part, turn) if good is None else good
            if turn.is_over:
                await turn.rest()
        return events

    async def _check_each(self, start: int, encoded: Sequence[bytes], turn: Turn) -> list[Event]:
        events = []
        for index, one in enumerate(encoded, start):
            events.append(self._check(index, one))
            if turn.is_over:
                await turn.rest()
        return events

    def _check(self, index: int, encoded: bytes) -> Event:
        """Return an event, and note what is wrong with it in as many words as the request has left."""
        if self._violations < VIOLATIONS_MAX:
            event, violations = self._validator.check(encoded)
            self._violations += len(violations)
            self._explained = encoded, event, violations
        elif self._named < EVENTS_NAMED_MAX:
            event, violations = self._again(encoded)
            self._named += bool(violations)
        else:
            event, is_valid = self._validator.judge(encoded)
            violations = []
            if not is_valid:
                self._verdicts.undescribed.add(index)
        if violations:
            self._verdicts.invalid[index] = violations
        return event

    def _again(self, encoded: bytes) -> tuple[Event, list[FieldViolation]]:
        """Return an event and what is wrong with it: all when it is known, else the first violation."""
        known, event, violations = self._explained
        if encoded == known:
            return event, violations
        event, violations = self._validator.check(encoded, first_only=True)
        # There may be more of them.
        self._verdicts.is_total_known &= not violations
        return event, violations


def part_size(event_bytes_max: int) -> int:
    """Return how many events are checked at once."""
    return max(PART_EVENTS_MIN, min(PART_EVENTS_MAX, PART_BYTES // max(event_bytes_max, 1)))
