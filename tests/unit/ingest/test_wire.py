"""The hand-written encoding of batches and records equals that of the generated classes."""

from __future__ import annotations

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from ugc.v1.event_pb2 import Event, EventBatch, EventRecord

from services.ingest.events.wire import received_at_bytes, record_bytes, split_batch

TEXT = st.text(max_size=300)
EVENTS = st.builds(lambda text, ip: Event(some_client_data=text, ip=ip), TEXT, TEXT)


@given(event=EVENTS, identity=st.binary(min_size=16, max_size=16), now=st.integers(1, 2**62))
def test_record_is_event_record(event: Event, identity: bytes, now: int) -> None:
    """A record is byte for byte what protobuf serializes."""
    joined = record_bytes(event.SerializeToString(), identity, received_at_bytes(now))

    assert joined == EventRecord(event=event, event_id=identity, received_at=now).SerializeToString()


@given(st.lists(EVENTS, max_size=20))
def test_split(events: list[Event]) -> None:
    """Splitting a batch returns the bytes of each event in order."""
    encoded = EventBatch(events=events).SerializeToString()

    assert split_batch(encoded) == [event.SerializeToString() for event in events]


def test_not_a_batch() -> None:
    """Bytes that are not a valid message are rejected."""
    with pytest.raises(DecodeError):
        split_batch(b"\x0a\xff\x01")
