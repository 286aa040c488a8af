"""ColumnValidator: which value belongs to which event, and what is left to protovalidate."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence

import pytest
from ugc.v1.event_pb2 import Event, Payload

from services.ingest.events.columns import column_validator
from services.ingest.events.common_texts import EVENTS_MIN
from services.ingest.events.identity import parse_identity
from services.ingest.events.records import EventKeys, keys_of
from services.ingest.events.validation import BATCH, IDENTITY_PATH, USER_PATH
from services.ingest.events.wire import join_batch
from tests.support.inputs.events import numbered, valid
from tests.support.inputs.protobuf_messages import length_delimited

USER, OTHER = "1EC4CD73-2FD5-4F25-AF68-B6595D279AF2", "1ec4cd73-2fd5-4f25-af68-b6595d279af3"
LONGEST = {"language": 35, "timezone": 64, "ip": 64, "version": 64}
IDENTITY = "01890a5d-ac96-774b-bcce-b302099a8057"


def keys(*events: bytes) -> EventKeys | None:
    """Return the keys of a batch."""
    validator = column_validator(BATCH, USER_PATH, IDENTITY_PATH)
    assert validator is not None
    return validator.keys(join_batch(events), len(events), max(map(len, events)))


def encoded(event: Event) -> bytes:
    return event.SerializeToString()


@pytest.mark.parametrize("identified", [(), (0,), (1,), (0, 1)])
def test_keys(identified: Sequence[int]) -> None:
    """Keys are in the order of the events, users in lower case, identities where the client has chosen one."""
    events = [valid(user_id=USER), valid(user_id=OTHER)]
    for at in identified:
        events[at].event_id = numbered(at).event_id

    expected = [parse_identity(event.event_id) for event in events]
    assert keys(*map(encoded, events)) == EventKeys([USER.lower().encode(), OTHER.encode()], expected)


@pytest.mark.parametrize("field", ["user_id", "movie_id", "event", "event_timestamp"])
def test_field_of_another_event(field: str) -> None:
    """A field that one event has twice does not stand for the one that another event lacks."""
    whole, lacking = valid(), valid()
    lacking.payload.ClearField(field)
    twice = encoded(whole) + length_delimited(1, encoded_payload(field))

    assert keys(twice, encoded(lacking)) is None
    assert keys(encoded(lacking), twice) is None
    assert keys(encoded(whole), encoded(whole)) is not None


def encoded_payload(field: str) -> bytes:
    """Return the payload of one field."""
    event = Event()
    setattr(event.payload, field, getattr(valid().payload, field))
    return event.payload.SerializeToString()


def test_payload_of_another_event() -> None:
    """The same for the payload as a whole."""
    bare = Event(language="RU")

    assert keys(encoded(valid()) * 2, encoded(bare)) is None


def test_identity_of_another_event() -> None:
    """An identity that an event has twice is not assigned to an event that has none."""
    twice = encoded(valid(event_id=IDENTITY)) + encoded(Event(event_id=OTHER))

    assert keys(twice, encoded(valid())) is None


@pytest.mark.parametrize("field", ["language", "timezone", "ip", "version"])
@pytest.mark.parametrize("different", [0, 1, EVENTS_MIN // 2, EVENTS_MIN - 1])
@pytest.mark.parametrize("others", [{}, {"timezone": "Asia/Tomsk"}, {"version": "2"}, {"timezone": "", "ip": ""}])
def test_texts_that_events_have_in_common(field: str, different: int, others: dict[str, str]) -> None:
    """A text that is too long is found in one event or in all, whichever other texts the events have in common."""
    events = [valid(event_data=f"number {at}") for at in range(EVENTS_MIN)]
    for name, text in others.items():
        setattr(events[-1], name, text)
    good = keys(*map(encoded, events))
    setattr(events[different], field, "ы" * LONGEST[field])
    longest = keys(*map(encoded, events))
    setattr(events[different], field, "ы" * LONGEST[field] + "x")

    assert good == longest == keys_of(events)
    assert keys(*map(encoded, events)) is None
    for event in events:
        setattr(event, field, "x" * (LONGEST[field] + 1))
    assert keys(*map(encoded, events)) is None


@pytest.mark.parametrize("invalid", [{"movie_id": "g" * 36}, {"movie_id": OTHER + "0"}, {"event": "1"}, {"event": ""}])
@pytest.mark.parametrize("others", [{}, {"movie_id": OTHER}, {"event": "like"}])
def test_texts_of_the_payload_in_common(invalid: dict[str, str], others: dict[str, str]) -> None:
    """A text of the payload that is not valid is found in one event or in all."""
    good = [valid(event_data=f"number {at}") for at in range(EVENTS_MIN - 1)] + [valid(**others)]

    assert keys(*map(encoded, good)) == keys_of(good)
    for at in (0, 1, EVENTS_MIN - 1):
        assert keys(*map(encoded, [*good[:at], valid(**invalid), *good[at + 1 :]])) is None
    assert keys(*[encoded(valid(**invalid))] * EVENTS_MIN) is None


@pytest.mark.parametrize(
    ("field", "text"), [*((field, "1.0") for field in LONGEST), ("event", "like"), ("movie_id", OTHER)]
)
@pytest.mark.parametrize("is_known", [True, False])
def test_bytes_that_look_like_a_common_text(field: str, text: str, is_known: bool) -> None:
    """A text of one event that looks like the texts of all, or an unknown field that does, hides no other text."""
    events = [valid(**{field: text}) for _ in range(EVENTS_MIN)]
    message = Payload if field in Payload.DESCRIPTOR.fields_by_name else Event
    alike = length_delimited(message.DESCRIPTOR.fields_by_name[field].number, text.encode()) * EVENTS_MIN
    events[-1] = valid(**{field: "x" * 65 + alike.decode() * is_known})
    unknown = b"" if is_known else length_delimited(100, alike)
    first = encoded(events[0]) + unknown + length_delimited(1, unknown)

    assert keys(first, *map(encoded, events[1:-1]), encoded(events[0])) is not None
    assert keys(first, *map(encoded, events[1:])) is None


def test_memory_of_a_repeated_text() -> None:
    """A text is not repeated in memory as often as events have its field, which may be many times each."""
    events = [encoded(valid()) + length_delimited(2, b"") * 1_000 for _ in range(EVENTS_MIN)]
    events[0] = encoded(valid(language="x" * 2_000))

    tracemalloc.start()
    found = keys(*events)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert found is None
    # The repetition would take 64 MB.
    assert peak < 8_000_000


def test_packed_time() -> None:
    """A number in the packed form, which a field of one value does not have, is not the event's time."""
    lacking = valid()
    lacking.payload.ClearField("event_timestamp")
    packed = length_delimited(1, length_delimited(5, b"\x01"))

    assert keys(encoded(lacking) + packed) is None
    assert keys(encoded(valid()) + packed) is not None


def test_bytes_that_are_not_a_batch() -> None:
    """Bytes that a parser rejects, and a number of events that is not theirs, are not decided."""
    validator = column_validator(BATCH, USER_PATH, IDENTITY_PATH)
    assert validator is not None
    event = encoded(valid())
    request = join_batch([event, event])

    assert validator.keys(request[:-1], 2, len(event)) is None
    assert validator.keys(request, 1, len(event)) is None
    assert validator.keys(request, 3, len(event)) is None
    assert validator.keys(request, 2, len(event)) is not None
