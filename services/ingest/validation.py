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
from ugc.v1.event_pb2 import Event, EventBatch, EventRecord

from services.ingest.wire import event_head
from services.ingest.words import FieldViolation, explain


@dataclass(frozen=True)
class BatchLimits:
    """How many events a batch may have."""

    events_min: int
    events_max: int


def batch_limits() -> BatchLimits:
    """Read the limits from the rules of `EventBatch.events`."""
    options = EventBatch.DESCRIPTOR.fields_by_name["events"].GetOptions()
    # protoc types an extension as a plain descriptor, types-protobuf wants its own class.
    rules: Any = options.Extensions[validate_pb2.field].repeated  # type: ignore[index]
    return BatchLimits(rules.min_items, rules.max_items)


UNREADABLE = "is not the Protobuf of a ugc.v1.Event, or is nested more than 99 levels deep"


class EventValidator:
    """Parses and checks events. One instance serves a process; it keeps the compiled rules."""

    def __init__(self, event_bytes_max: int) -> None:
        self.event_bytes_max = event_bytes_max
        self._rules = protovalidate.Validator()
        # Compiled now, not while the first client waits.
        self._rules.collect_violations(EventBatch(events=[Event()]))

    def check(self, encoded: bytes) -> tuple[Event, list[FieldViolation]]:
        """Return the event and what is wrong with it; an empty list means accepted."""
        if len(encoded) > self.event_bytes_max:
            size = f"must be at most {self.event_bytes_max} bytes, not {len(encoded)}"
            return Event(), [FieldViolation(field="event", description=size)]
        try:
            event = parse_as_stored(encoded)
        except DecodeError:
            return Event(), [FieldViolation(field="event", description=UNREADABLE)]
        return event, self.violations(event)

    def check_all(self, request: bytes, encoded: Sequence[bytes]) -> Sequence[Event] | None:
        """Return the events of a batch that is good as a whole; None means that each must be looked at by itself.

        Most batches are good, and as a whole one is checked in half the time of its events.
        """
        if max(map(len, encoded)) > self.event_bytes_max:
            return None
        try:
            batch = EventBatch.FromString(request)
        except DecodeError:
            return None
        return None if self._rules.collect_violations(batch, fail_fast=True) else batch.events

    def violations(self, message: Message) -> list[FieldViolation]:
        """Return what is wrong with a message, by the rules of its proto alone."""
        return [explain(violation) for violation in self._rules.collect_violations(message)]


def parse_as_stored(encoded: bytes) -> Event:
    """Parse an event inside the EventRecord that would be stored; DecodeError when consumers could not decode that.

    Parsers stop at 100 levels, and within its record an event is one level deeper; an EventBatch adds the same level.
    """
    return EventRecord.FromString(event_head(len(encoded)) + encoded).event
