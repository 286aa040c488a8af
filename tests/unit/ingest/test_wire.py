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
    count_batch_events,
    event_head,
    received_at_bytes,
    record_bytes,
    record_values,
    split_batch,
    varint,
)

# More than an example has.
COUNT_MAX = 1_000
# Tags, lengths of one and of several bytes, and other bytes.
HOSTILE = st.lists(st.sampled_from([0x0A, 0, 1, 2, 0x12, 0x0B, 0x7F, 0x80, 0x8A, 0xFF]), max_size=12).map(bytes)
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


@given(st.lists(EVENTS, max_size=20))
def test_count(events: list[Event]) -> None:
    """The events of a batch are counted without parsing it, unless they are too many, or the batch is cut off."""
    encoded = EventBatch(events=events).SerializeToString()

    assert count_batch_events(encoded, COUNT_MAX) == len(events)
    assert count_batch_events(encoded, len(events)) == len(events)
    if events:
        assert count_batch_events(encoded, len(events) - 1) is None
        assert count_batch_events(encoded[:-1], COUNT_MAX) is None


@given(HOSTILE | st.tuples(st.lists(st.binary(max_size=300), max_size=5), HOSTILE).map(lambda each: tail(*each)))
def test_count_of_hostile_bytes(encoded: bytes) -> None:
    """The count is that of the parser, or there is none."""
    try:
        expected: int | None = len(split_batch(encoded))
    except DecodeError:
        expected = None

    assert count_batch_events(encoded, COUNT_MAX) in (expected, None)


def tail(events: list[bytes], after: bytes) -> bytes:
    """Return a batch of some bytes as events, followed by other bytes."""
    return b"".join(b"\x0a" + varint(len(event)) + event for event in events) + after
