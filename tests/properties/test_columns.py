"""Columns and protovalidate: a batch that the columns call valid is valid for both, event by event, with the same keys.

The other direction is not claimed: what the columns do not decide is validated by protovalidate. So the tests count too
that the columns decide many batches.

UGC_TEST_MESSAGES is how many messages are made.
"""

from __future__ import annotations

import os
import random
from collections.abc import Sequence

from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from ugc.v1.event_pb2 import EventBatch, EventRecord

from services.ingest.events.columns import ColumnValidator, column_validator
from services.ingest.events.records import keys_of
from services.ingest.events.validation import BATCH, IDENTITY_PATH, USER_PATH, EventValidator
from services.ingest.events.wire import received_at_bytes, record_bytes, split_batch
from tests.support.clients.calls import EVENT_BYTES_MAX
from tests.support.inputs.events import numbered, valid
from tests.support.inputs.mutations import mutated
from tests.support.inputs.protobuf_messages import MessageMaker, length_delimited, number, tag
from tests.support.inputs.protobuf_mutations import PROTOBUF_MUTATIONS

MESSAGES = int(os.environ.get("UGC_TEST_MESSAGES", "30000"))
SEED = 20_261_127
RULES = EventValidator(EVENT_BYTES_MAX)
COLUMNS = column_validator(BATCH, USER_PATH, IDENTITY_PATH)
USERS = ("1ec4cd73-2fd5-4f25-af68-b6595d279af2", "1EC4CD73-2FD5-4F25-AF68-B6595D279AF3")


def is_decided(request: bytes, events: Sequence[bytes]) -> bool:
    """Return whether the columns call a batch valid; then check each event and its keys by the other parsers."""
    assert isinstance(COLUMNS, ColumnValidator)
    keys = COLUMNS.keys(request, len(events), max(map(len, events)))
    if keys is None:
        return False
    checked = [RULES.check(event) for event in events]
    assert [violations for _, violations in checked if violations] == []
    assert keys == keys_of(event for event, _ in checked)
    assert not RULES.violations(EventBatch.FromString(request))
    for event in events:
        EventRecord.FromString(record_bytes(event, b"0123456789abcdef", received_at_bytes(1)))
    return True


def batch_of(events: Sequence[bytes]) -> bytes:
    """Return the EventBatch of encoded events."""
    return b"".join(length_delimited(1, event) for event in events)


def test_structured_messages() -> None:
    """Batches of messages with unknown fields, groups, merged payloads, long varints and bad texts (seeded)."""
    maker, chance = MessageMaker(SEED), random.Random(SEED)
    decided = undecided = decided_alone = valid_alone = 0
    for _ in range(0, MESSAGES, 8):
        events = list(maker.events(8))
        for event in events:
            alone = is_decided(length_delimited(1, event), [event])
            decided_alone += alone
            valid_alone += RULES.check_validity(event)[1]
        good = [event for event in events if RULES.check_validity(event)[1]]
        some = chance.sample(events, chance.randint(1, 3)) if chance.random() < 0.5 else good or events
        if is_decided(batch_of(some), some):
            decided += 1
        else:
            undecided += 1

    assert min(decided, undecided) > MESSAGES / 100
    # Only a valid event that has a field twice, or an empty identity, is left to protovalidate.
    assert decided_alone > 0.8 * valid_alone


def test_mutated_batches() -> None:
    """Batches whose bytes are mutated (seeded)."""
    good = [batch_of([numbered(at).SerializeToString() for at in range(count)]) for count in (1, 2, 3, 12)]
    decided = parsed = 0
    for request in mutated(good, PROTOBUF_MUTATIONS, MESSAGES // 3, SEED):
        try:
            events = list(split_batch(request))
        except DecodeError:
            continue
        if events:
            parsed += 1
            decided += is_decided(request, events)

    assert parsed / 20 < decided < parsed


FIELDS = {
    "movie": length_delimited(1, USERS[0].encode()),
    "movie of 37 characters": length_delimited(1, USERS[0].encode() + b"\n"),
    "user": length_delimited(2, USERS[0].encode()),
    "other user": length_delimited(2, USERS[1].encode()),
    "no user": length_delimited(2, b""),
    "event": length_delimited(3, b"like"),
    "event with a line feed": length_delimited(3, b"like\n"),
    "data": length_delimited(4, "ы".encode() * 20),
    "time": number(5, 1_621_932_759),
    "least time": number(5, 1),
    "last time": number(5, 4_102_444_799),
    "late time": number(5, 4_102_444_800),
    "time 0": number(5, 0),
    "time of ten bytes": tag(5, 0) + b"\x81" + b"\x80" * 8 + b"\x00",
    "packed times": length_delimited(5, b"\x01\x05"),
    "no packed time": length_delimited(5, b""),
    "unknown": length_delimited(9, b"\xff"),
    "group": tag(2, 3) + tag(2, 4),
}
PAYLOAD = ("movie", "user", "event", "time")
OUTER = {
    "language": length_delimited(2, b"RU"),
    "language of 35 characters": length_delimited(2, b"x" * 35),
    "language of 36 characters": length_delimited(2, b"x" * 36),
    "language of 35 letters": length_delimited(2, "ы".encode() * 35),
    "not UTF-8": length_delimited(2, b"\xc3"),
    "identity": length_delimited(7, USERS[0].encode()),
    "other identity": length_delimited(7, USERS[1].encode()),
    "empty identity": length_delimited(7, b""),
    "identity without hyphens": length_delimited(7, USERS[0].replace("-", "").encode()),
    "payload as number": number(1, 5),
    "empty payload": length_delimited(1, b""),
    "unknown": number(100, 5),
}


@st.composite
def any_event(draw: st.DrawFn) -> bytes:
    """Make an event of a whole payload with fields added, left out or repeated, in any order."""
    inner = [name for name in PAYLOAD if draw(st.integers(0, 9))]
    inner += draw(st.lists(st.sampled_from(sorted(FIELDS)), max_size=2) if draw(st.booleans()) else st.just([]))
    fields = [FIELDS[name] for name in draw(st.permutations(inner))]
    cut = draw(st.integers(0, len(fields))) if draw(st.booleans()) else len(fields)
    parts = [length_delimited(1, b"".join(fields[:cut]))]
    if fields[cut:]:
        parts.append(length_delimited(1, b"".join(fields[cut:])))
    outer = st.lists(st.sampled_from(sorted(OUTER)), max_size=2) if draw(st.booleans()) else st.just([])
    return b"".join(draw(st.permutations(parts + [OUTER[name] for name in draw(outer)])))


@given(st.lists(any_event(), min_size=1, max_size=4))
@settings(max_examples=1_500, deadline=None)
def test_fields_of_other_events(events: list[bytes]) -> None:
    """A field that one event has twice does not stand for the one that another event lacks."""
    is_decided(batch_of(events), events)


@given(st.integers(1, 40), st.sets(st.integers(0, 39)), st.booleans())
@settings(max_examples=100, deadline=None)
def test_ordinary_batches(count: int, without: set[int], upper: bool) -> None:
    """Batches of generated code are decided, whichever events have an identity."""
    events = [numbered(at) for at in range(count)]
    for at in without:
        if at < count:
            events[at].event_id = ""
            events[at].payload.user_id = USERS[upper]
    encoded = [event.SerializeToString() for event in events]

    assert is_decided(batch_of(encoded), encoded)


def test_limits() -> None:
    """Values at their limits are decided, and values above are not."""
    at_limit = valid(event="A" * 64, event_data="x" * 32_768, language="x" * 35, ip="x" * 64, event_timestamp=1)
    above = {
        "event": "A" * 65,
        "event_data": "x" * 32_769,
        "some_client_data": "ы" * 16_385,
        "language": "x" * 36,
        "timezone": "x" * 65,
        "event_timestamp": 4_102_444_800,
        "movie_id": USERS[0][:-1],
        "event_id": USERS[0] + "0",
    }
    encoded = at_limit.SerializeToString()

    assert is_decided(batch_of([encoded]), [encoded])
    for name, value in above.items():
        bad = valid(**{name: value}).SerializeToString()
        assert not is_decided(batch_of([encoded, bad]), [encoded, bad]), name
