"""The rules of an event: what the proto's buf.validate options say, and the size; in words for the client.

Pure: bytes in, a verdict out. The rules themselves stand in proto/ugc/v1/event.proto.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import protovalidate
from buf.validate import validate_pb2
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import BadRequest
from ugc.v1.event_pb2 import Event, EventBatch

ECHO_CHARACTERS_MAX = 40
# A number above this is no date in seconds of this or the next centuries; it is the present in milliseconds or finer.
SECONDS_PLAUSIBLE_MAX = 100_000_000_000
FieldViolation: TypeAlias = BadRequest.FieldViolation


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


class EventValidator:
    """Parses and checks events. One instance serves a process; it keeps the compiled rules."""

    def __init__(self, event_bytes_max: int) -> None:
        self.event_bytes_max = event_bytes_max
        self._rules = protovalidate.Validator()
        # Compiled now, not while the first client waits.
        self._rules.collect_violations(Event())

    def check(self, encoded: bytes) -> tuple[Event, list[FieldViolation]]:
        """Return the event and what is wrong with it; an empty list means accepted."""
        if len(encoded) > self.event_bytes_max:
            size = f"must be at most {self.event_bytes_max} bytes, not {len(encoded)}"
            return Event(), [FieldViolation(field="event", description=size)]
        try:
            event = Event.FromString(encoded)
        except DecodeError:
            return Event(), [FieldViolation(field="event", description="is not the Protobuf of a ugc.v1.Event")]
        return event, [explain(violation) for violation in self._rules.collect_violations(event)]


def explain(violation: protovalidate.Violation) -> FieldViolation:
    """Turn the library's verdict into the field's path and words that say what to send."""
    proto = violation.proto
    path = ".".join(element.field_name for element in proto.field.elements) if proto.field else "event"
    return FieldViolation(field=path, description=describe(proto.rule_id, proto.message, violation.field_value))


def describe(rule: str, message: str, value: Any) -> str:  # noqa: ANN401 -- the value of any field
    """Say what the rule wants and what came instead; a rule without words of ours keeps the library's."""
    words = WORDS.get(rule)
    return words(message, value) if words else message


def seconds_wanted(_message: str, value: int) -> str:
    """Say what a timestamp must be; the commonest mistake is milliseconds."""
    if value > SECONDS_PLAUSIBLE_MAX:
        return f"must be Unix time in seconds; {value} looks like milliseconds or finer, divide it"
    return f"must be Unix time in seconds, from 1 to 4102444799 (the end of 2099), not {value}"


WORDS: dict[str, Callable[[str, Any], str]] = {
    "required": lambda _, __: "is required",
    "string.uuid": lambda _, value: f"must be a UUID such as 1ec4cd73-2fd5-4f25-af68-b6595d279af2, not {echo(value)}",
    "string.pattern": lambda _, value: (
        f"must be a letter, then at most 63 letters, digits or any of _ . : - such as watch-progress, not {echo(value)}"
    ),
    "int64.gte_lte": seconds_wanted,
    "string.max_bytes": lambda message, value: f"{message}, not {len(value.encode())}",
    "string.max_len": lambda message, value: f"{message}, not {len(value)}",
}


def echo(value: object) -> str:
    """Quote a client's value in ASCII, cut to a length that fits a header."""
    text = str(value)
    return ascii(text if len(text) <= ECHO_CHARACTERS_MAX else text[:ECHO_CHARACTERS_MAX] + "...")
