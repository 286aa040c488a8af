"""The hand-written encoding of batches and records equals that of the generated classes."""

from __future__ import annotations

from itertools import repeat

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from ugc.v1.event_pb2 import Event, EventBatch, EventRecord

from services.ingest.events.wire import (
    EVENT_HEADS_MAX,
    EVENT_TAG,
    IDENTITY_TAG,
    event_head,
    received_at_bytes,
    record_bytes,
    record_values,
    split_batch,
    varint,
)

TEXT = st.text(max_size=300)
EVENTS = st.builds(lambda text, ip: Event(some_client_data=text, ip=ip), TEXT, TEXT)


@given(event=EVENTS, identity=st.binary(min_size=16, max_size=16), now=st.integers(1, 2**62))
def test_record_is_event_record(event: Event, identity: bytes, now: int) -> None:
    """A record is byte for byte what protobuf serializes."""
    joined = record_bytes(event.SerializeToString(), identity, received_at_bytes(now))

    assert joined == EventRecord(event=event, event_id=identity, received_at=now).SerializeToString()


@given(st.lists(st.tuples(st.binary(max_size=300), st.binary(min_size=16, max_size=16)), max_size=20))
def test_several_records(pairs: list[tuple[bytes, bytes]]) -> None:
    """Several records are the same as each by itself."""
    now = received_at_bytes(1_700_000_000_123)
    tails = repeat(IDENTITY_TAG), [identity for _, identity in pairs], repeat(now)
    together = record_values([event for event, _ in pairs], *tails)

    assert together == [record_bytes(*pair, now) for pair in pairs]


def test_heads_that_are_kept() -> None:
    """The kept heads are limited, and right after they were dropped."""
    for length in (*range(EVENT_HEADS_MAX + 1), 5):
        assert event_head(length) == EVENT_TAG + varint(length)
    assert len(event_head.__self__) <= EVENT_HEADS_MAX  # type: ignore[attr-defined]  # a method of the dictionary


@given(st.lists(EVENTS, max_size=20))
def test_split(events: list[Event]) -> None:
    """Splitting a batch returns the bytes of each event in order."""
    encoded = EventBatch(events=events).SerializeToString()

    assert split_batch(encoded) == [event.SerializeToString() for event in events]


def test_not_a_batch() -> None:
    """Bytes that are not a valid message are rejected."""
    with pytest.raises(DecodeError):
        split_batch(b"\x0a\xff\x01")
