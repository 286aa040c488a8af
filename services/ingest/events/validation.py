"""Validates events by the buf.validate rules of the proto and by their size. Pure.

The rules are in proto/ugc/v1, the texts of violations in violation_messages.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import protovalidate
from buf.validate import validate_pb2
from google.protobuf.message import DecodeError, Message
from ugc.v1.event_pb2 import Event, EventBatch, EventRecord, Payload

from services.ingest.events.violation_messages import FieldViolation, explain
from services.ingest.events.wire import event_head


@dataclass(frozen=True)
class BatchLimits:
    """The number of events that a batch may have."""

    events_min: int
    events_max: int


def batch_limits() -> BatchLimits:
    """Return the limits in the rules of `EventBatch.events`."""
    rules = rules_of(EventBatch, "events").repeated
    return BatchLimits(rules.min_items, rules.max_items)


def event_bytes_min() -> int:
    """Return a size below which no event is valid: that of the required UUIDs of its payload."""
    rules = [rules_of(Payload, field.name) for field in Payload.DESCRIPTOR.fields]
    return UUID_CHARACTERS * sum(bool(each.required and each.string.uuid) for each in rules)


def rules_of(kind: type[Message], field: str) -> validate_pb2.FieldRules:
    """Return the buf.validate rules of a field."""
    options = kind.DESCRIPTOR.fields_by_name[field].GetOptions()
    # protoc types an extension as a plain descriptor, types-protobuf wants its own class.
    return options.Extensions[validate_pb2.field]  # type: ignore[index]  # see above


UUID_CHARACTERS = 36
EMPTY_EVENT = Event()
UNREADABLE = "is not the Protobuf of a ugc.v1.Event, or is nested more than 99 levels deep"


class EventValidator:
    """Parses and validates events; keeps the compiled rules, so one instance serves a process."""

    def __init__(self, event_bytes_max: int) -> None:
        self.event_bytes_max = event_bytes_max
        self._event_bytes_min = event_bytes_min()
        self._rules = protovalidate.Validator()
        # Compiles the rules at start instead of in the first request.
        self._rules.collect_violations(EventBatch(events=[Event()]))

    def check(self, encoded: bytes, *, first_only: bool = False) -> tuple[Event, list[FieldViolation]]:
        """Return the event and its violations, or only the first; without violations the event is valid."""
        if len(encoded) > self.event_bytes_max:
            size = f"must be at most {self.event_bytes_max} bytes, not {len(encoded)}"
            return Event(), [FieldViolation(field="event", description=size)]
        try:
            event = parse_as_stored(encoded)
        except DecodeError:
            return Event(), [FieldViolation(field="event", description=UNREADABLE)]
        return event, self.violations(event, first_only=first_only)

    def check_validity(self, encoded: bytes) -> tuple[Event, bool]:
        """Return the event and whether it is valid, in a fraction of the time of `check`."""
        if not self._event_bytes_min <= len(encoded) <= self.event_bytes_max:
            return EMPTY_EVENT, False
        try:
            event = parse_as_stored(encoded)
        except DecodeError:
            return EMPTY_EVENT, False
        return event, not self._rules.collect_violations(event, fail_fast=True)

    def check_part(self, encoded: bytes, largest: int) -> Sequence[Event] | None:
        """Return the events of a part of a batch if all are valid, None if each has to be checked separately.

        `encoded` is an EventBatch, `largest` the size of its largest event. Most parts are valid, and checking a part
        as a whole takes half the time of checking its events.
        """
        if largest > self.event_bytes_max:
            return None
        try:
            batch = EventBatch.FromString(encoded)
        except DecodeError:
            return None
        return None if self._rules.collect_violations(batch, fail_fast=True) else batch.events

    def violations(self, message: Message, *, first_only: bool = False) -> list[FieldViolation]:
        """Return the violations of a message by the rules of its proto."""
        return [explain(violation) for violation in self._rules.collect_violations(message, fail_fast=first_only)]


def parse_as_stored(encoded: bytes) -> Event:
    """Parse an event as part of its EventRecord; raise DecodeError if consumers could not decode that record.

    Parsers accept 100 levels of nesting, and a record adds one level to its event, as an EventBatch does.
    """
    return EventRecord.FromString(event_head(len(encoded)) + encoded).event
