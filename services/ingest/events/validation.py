"""The rules of a request: what the proto's buf.validate options say, and the size of an event.

Pure: bytes in, a verdict out. The rules themselves stand in proto/ugc/v1; their words for the client in words.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import protovalidate
from buf.validate import validate_pb2
from google.protobuf.message import DecodeError, Message
from ugc.v1.event_pb2 import Event, EventBatch, EventRecord, Payload

from services.ingest.events.violation_messages import FieldViolation, explain
from services.ingest.events.wire import event_head


@dataclass(frozen=True)
class BatchLimits:
    """How many events a batch may have."""

    events_min: int
    events_max: int


def batch_limits() -> BatchLimits:
    """Read the limits from the rules of `EventBatch.events`."""
    rules = rules_of(EventBatch, "events").repeated
    return BatchLimits(rules.min_items, rules.max_items)


def event_bytes_min() -> int:
    """Return a number of bytes below which no event is valid: those of the UUIDs that its payload must have."""
    rules = [rules_of(Payload, field.name) for field in Payload.DESCRIPTOR.fields]
    return UUID_CHARACTERS * sum(bool(each.required and each.string.uuid) for each in rules)


def rules_of(kind: type[Message], field: str) -> Any:  # noqa: ANN401 -- the rules' types are generated, unchecked code
    """Return the rules of a field, as the proto has them."""
    options = kind.DESCRIPTOR.fields_by_name[field].GetOptions()
    # protoc types an extension as a plain descriptor, types-protobuf wants its own class.
    return options.Extensions[validate_pb2.field]  # type: ignore[index]  # see above


UUID_CHARACTERS = 36
NO_EVENT = Event()
UNREADABLE = "is not the Protobuf of a ugc.v1.Event, or is nested more than 99 levels deep"


class EventValidator:
    """Parses and checks events. One instance serves a process; it keeps the compiled rules."""

    def __init__(self, event_bytes_max: int) -> None:
        self.event_bytes_max = event_bytes_max
        self._event_bytes_min = event_bytes_min()
        self._rules = protovalidate.Validator()
        # Compiled now, not while the first client waits.
        self._rules.collect_violations(EventBatch(events=[Event()]))

    def check(self, encoded: bytes, *, first_only: bool = False) -> tuple[Event, list[FieldViolation]]:
        """Return the event and what is wrong with it, or the first of that; an empty list means accepted."""
        if len(encoded) > self.event_bytes_max:
            size = f"must be at most {self.event_bytes_max} bytes, not {len(encoded)}"
            return Event(), [FieldViolation(field="event", description=size)]
        try:
            event = parse_as_stored(encoded)
        except DecodeError:
            return Event(), [FieldViolation(field="event", description=UNREADABLE)]
        return event, self.violations(event, first_only=first_only)

    def judge(self, encoded: bytes) -> tuple[Event, bool]:
        """Return the event and whether it is valid, in a fraction of the time of `check`."""
        if not self._event_bytes_min <= len(encoded) <= self.event_bytes_max:
            return NO_EVENT, False
        try:
            event = parse_as_stored(encoded)
        except DecodeError:
            return NO_EVENT, False
        return event, not self._rules.collect_violations(event, fail_fast=True)

    def check_part(self, encoded: bytes, largest: int) -> Sequence[Event] | None:
        """Return the events of a part of a batch that is good as a whole; None when each must be looked at by itself.

        `encoded` is an EventBatch, `largest` the bytes of its largest event. Most parts are good, and as a whole one
        is checked in half the time of its events.
        """
        if largest > self.event_bytes_max:
            return None
        try:
            batch = EventBatch.FromString(encoded)
        except DecodeError:
            return None
        return None if self._rules.collect_violations(batch, fail_fast=True) else batch.events

    def violations(self, message: Message, *, first_only: bool = False) -> list[FieldViolation]:
        """Return what is wrong with a message, by the rules of its proto alone."""
        return [explain(violation) for violation in self._rules.collect_violations(message, fail_fast=first_only)]


def parse_as_stored(encoded: bytes) -> Event:
    """Parse an event inside the EventRecord that would be stored; DecodeError when consumers could not decode that.

    Parsers stop at 100 levels, and within its record an event is one level deeper; an EventBatch adds the same level.
    """
    return EventRecord.FromString(event_head(len(encoded)) + encoded).event
