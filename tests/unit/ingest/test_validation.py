"""Validation: which events are rejected, and the texts that name the field."""

from __future__ import annotations

import pytest
from google.protobuf.message import Message
from ugc.v1.event_pb2 import Event

from services.ingest.events.validation import EventValidator, batch_limits
from tests.support.inputs.events import valid

EVENT_BYTES_MAX = 65_536
VALIDATOR = EventValidator(EVENT_BYTES_MAX)


def problems(event: Message) -> dict[str, str]:
    """Validate an event; return the texts by field."""
    _, violations = VALIDATOR.check(event.SerializeToString())
    return {violation.field: violation.description for violation in violations}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"event_id": "018f5e2a-7b1c-7def-8abc-0123456789ab"},
        {"user_id": "1EC4CD73-2FD5-4F25-AF68-B6595D279AF2"},
        {"event": "watch-progress"},
        {"event_timestamp": 1},
        {"event_timestamp": 4_102_444_799},
        {"event_data": "x" * 32_768},
        {"language": "", "timezone": "", "ip": "", "version": "", "some_client_data": "", "event_data": ""},
        {"some_client_data": "\U0001f600" * 8_192},
    ],
)
def test_accepted(changes: dict[str, object]) -> None:
    """Every event that the contract allows is accepted, up to its limits."""
    assert problems(valid(**changes)) == {}


@pytest.mark.parametrize(
    ("changes", "field", "expected"),
    [
        ({"movie_id": "x"}, "payload.movie_id", "must be a UUID"),
        ({"movie_id": ""}, "payload.movie_id", "is required"),
        ({"user_id": "1ec4cd73-2fd5-4f25-af68-b6595d279af"}, "payload.user_id", "must be a UUID"),
        ({"user_id": "{1ec4cd73-2fd5-4f25-af68-b6595d279af2}"}, "payload.user_id", "must be a UUID"),
        ({"event": ""}, "payload.event", "is required"),
        ({"event": "1st"}, "payload.event", "must match `^[A-Za-z]"),
        ({"event": "a" * 65}, "payload.event", "must match `^[A-Za-z]"),
        ({"event": "like\n"}, "payload.event", "must match `^[A-Za-z]"),
        ({"event_timestamp": 0}, "payload.event_timestamp", "is required and must not be 0"),
        ({"event_timestamp": -1}, "payload.event_timestamp", "less than or equal to 4102444799, not -1"),
        ({"event_timestamp": 1_621_932_759_000}, "payload.event_timestamp", "milliseconds"),
        ({"event_data": "x" * 32_769}, "payload.event_data", "32768 bytes, not 32769"),
        ({"some_client_data": "\u00e9" * 16_385}, "some_client_data", "32768 bytes, not 32770"),
        ({"language": "x" * 36}, "language", "35 characters, not 36"),
        ({"timezone": "x" * 65}, "timezone", "64 characters"),
        ({"ip": "x" * 65}, "ip", "64 characters"),
        ({"version": "x" * 65}, "version", "64 characters"),
        ({"event_id": "not-a-uuid"}, "event_id", "must be a UUID"),
    ],
)
def test_rejected_with_the_field(changes: dict[str, object], field: str, expected: str) -> None:
    """An invalid event is rejected with exactly the invalid field and what to send."""
    found = problems(valid(**changes))

    assert list(found) == [field]
    assert expected in found[field]


def test_without_payload() -> None:
    """An event without a payload is rejected for that alone."""
    assert problems(Event(language="RU")) == {"payload": "is required"}


def test_all_violations_are_listed() -> None:
    """All violations of an event are listed, so that a client can correct it at once."""
    assert set(problems(valid(movie_id="x", event="", event_timestamp=0))) == {
        "payload.movie_id",
        "payload.event",
        "payload.event_timestamp",
    }


def test_event_size() -> None:
    """An event above the size limit is rejected; unknown fields count."""
    large = valid(event_data="x" * 32_768, some_client_data="y" * 32_768)

    assert problems(large) == {"event": f"must be at most 65536 bytes, not {large.ByteSize()}"}


def test_garbage() -> None:
    """Bytes that are not a valid event are rejected without an exception."""
    _, violations = VALIDATOR.check(b"\xff\xff\xff")

    assert [violation.field for violation in violations] == ["event"]


def test_long_values_are_cut() -> None:
    """A client's value is quoted in ASCII, shortened to fit into a header."""
    description = problems(valid(movie_id="\u044b" * 30_000))["payload.movie_id"]

    assert description.isascii()
    assert len(description) < 400


def test_limits_of_a_batch_come_from_the_proto() -> None:
    """The limits of a batch are those of the proto."""
    assert (batch_limits().events_min, batch_limits().events_max) == (1, 10_000)
