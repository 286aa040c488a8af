"""Validates events by the buf.validate rules of the proto and by their size. Pure.

The rules are in proto/ugc/v1, the texts of violations in violation_messages.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import protovalidate
from buf.validate import validate_pb2
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError, Message
from ugc.v1.event_pb2 import Event, EventBatch, EventRecord, Payload

from services.ingest.events.columns import column_validator
from services.ingest.events.records import EventKeys, keys_of
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
# The generated class types its descriptor as that of either implementation of Protobuf.
BATCH = cast("Descriptor", EventBatch.DESCRIPTOR)
USER_PATH, IDENTITY_PATH = "payload.user_id", "event_id"
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
        # None if the proto has a rule that protovalidate alone can check.
        self._columns = column_validator(BATCH, USER_PATH, IDENTITY_PATH)

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

    def check_part(self, encoded: bytes, count: int, largest: int) -> EventKeys | None:
        """Return the keys of a part of a batch if all its events are valid, None if each has to be checked separately.

        `encoded` is an EventBatch of `count` events, `largest` the size of its largest event. Most parts are valid and
        are decided by columns, in a fraction of the time of checking each event.
        """
        if largest > self.event_bytes_max:
            return None
        if self._columns is not None and (keys := self._columns.keys(encoded, count, largest)):
            return keys
        try:
            batch = EventBatch.FromString(encoded)
        except DecodeError:
            return None
        return None if self._rules.collect_violations(batch, fail_fast=True) else keys_of(batch.events)

    def violations(self, message: Message, *, first_only: bool = False) -> list[FieldViolation]:
        """Return the violations of a message by the rules of its proto."""
        return [
            explain(violation, message) for violation in self._rules.collect_violations(message, fail_fast=first_only)
        ]


def parse_as_stored(encoded: bytes) -> Event:
    """Parse an event as part of its EventRecord; raise DecodeError if consumers could not decode that record.

    Parsers accept 100 levels of nesting, and a record adds one level to its event, as an EventBatch does.
    """
    return EventRecord.FromString(event_head(len(encoded)) + encoded).event
