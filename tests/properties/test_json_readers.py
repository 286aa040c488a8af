"""The gateway's readers of JSON against protobuf's json_format: they make the same messages."""

from __future__ import annotations

import json

from google.protobuf import json_format
from hypothesis import given, settings
from hypothesis import strategies as st
from ugc.v1.event_pb2 import Event, EventBatch, Payload

from gateway.json.fast import FastReader
from gateway.json.message_types import MessageTypes
from gateway.json.reader import JsonReader
from gateway.json.text import parse

# json_format accepts all of these, so that only the values are compared.
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ['"', "\\", '\\"', "a\\", "\0"]
)
STRING_FIELDS = [field.json_name for field in Event.DESCRIPTOR.fields if field.name != "payload"]
PAYLOADS = st.fixed_dictionaries(
    {},
    optional={
        **{field.json_name: TEXTS for field in Payload.DESCRIPTOR.fields if field.name != "event_timestamp"},
        "event_timestamp": st.integers(-(2**63), 2**63 - 1),
    },
)
EVENTS = st.fixed_dictionaries({}, optional={"payload": PAYLOADS, **dict.fromkeys(STRING_FIELDS, TEXTS)})
# Other forms of the same JSON: spaces and escapes.
STYLES = st.fixed_dictionaries({"indent": st.sampled_from([None, 1]), "ensure_ascii": st.booleans()})
SETTINGS = settings(max_examples=500, deadline=None)
FAST, FAST_BATCH = FastReader(Event), FastReader(EventBatch, "events")


@SETTINGS
@given(EVENTS, STYLES)
def test_an_event(event: dict[str, object], style: dict[str, bool]) -> None:
    """The fast reader accepts every event in the documented form, and both readers read it as json_format does."""
    text = json.dumps(event, **style)  # type: ignore[arg-type]  # the styles are json.dumps's own arguments
    expected = json_format.Parse(text, Event())

    assert FAST.read(text.encode()) == expected.SerializeToString()
    assert read_exactly(text) == expected


@SETTINGS
@given(st.lists(EVENTS, max_size=4))
def test_a_batch(events: list[dict[str, object]]) -> None:
    """The fast reader reads a list of events as json_format reads the field of a batch."""
    text = json.dumps(events)
    expected = json_format.Parse(f'{{"events": {text}}}', EventBatch())

    assert FAST_BATCH.read(text.encode()) == expected.SerializeToString()


@SETTINGS
@given(EVENTS, st.sampled_from(STRING_FIELDS))
def test_other_forms_of_an_event(event: dict[str, object], absent: str) -> None:
    """The fast reader leaves null and integers as strings to the exact one, which reads as json_format does."""
    payload = event.get("payload")
    stamped = payload if isinstance(payload, dict) else {}
    loose = {**{key: value for key, value in event.items() if key != absent}, absent: None}
    loose["payload"] = {key: str(value) for key, value in stamped.items()}
    text = json.dumps(loose)

    assert FAST.read(text.encode()) is None
    assert read_exactly(text) == json_format.Parse(text, Event())


def read_exactly(text: str) -> Event:
    """Return the event of the exact reader."""
    event = Event()
    JsonReader(MessageTypes(), strict=True).message(event, parse(text.encode()))
    return event
