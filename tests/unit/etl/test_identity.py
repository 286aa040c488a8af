"""The identity of an event is its event_id and its user, whatever the case of the user's text."""

from __future__ import annotations

import re
import uuid

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.events.duplicates import DuplicateWindow
from etl.events.identity import UUID_PATTERN, identities, packed, readable, split
from etl.events.rows import DUPLICATE, decode, without_duplicates
from tests.support.inputs.events import record, valid
from tests.support.inputs.messages import FakeMessage

KEY, OTHER_KEY = uuid.UUID(int=1), uuid.UUID(int=2)
ANNA, BORIS = uuid.UUID(int=0xABCDEF << 100), uuid.UUID(int=0xABCDEE << 100)
CASES = (str, lambda user: str(user).upper(), lambda user: str(user).title())


@given(st.lists(st.tuples(st.uuids(), st.uuids(), st.sampled_from(CASES)), max_size=20), st.integers(0, 3))
def test_bytes(events: list[tuple[uuid.UUID, uuid.UUID, object]], begin: int) -> None:
    """An identity is the 16 bytes of the event_id, then those of the user, also if the columns are slices."""
    texts = [style(user) for _, user, style in events]  # type: ignore[operator]  # functions of CASES
    keys = pa.array([key.bytes for key, _, _ in events], pa.binary())[begin:]
    users = pa.array(texts, pa.string())[begin:]
    expected = [key.bytes + user.bytes for key, user, _ in events[begin:]]

    assert identities(keys, packed(users)) == expected
    assert [split(identity) for identity in expected] == [(key.bytes, user.bytes) for key, user, _ in events[begin:]]


@pytest.mark.parametrize("text", ["", "x" * 36, f"{{{ANNA}", str(ANNA)[:-1], f"{ANNA}\n", ANNA.hex, None])
@pytest.mark.parametrize("key", [b"", b"short", b"x" * 17, None])
def test_readable(key: bytes | None, text: str | None) -> None:
    """Of columns with arbitrary values only valid UUIDs are read."""
    keys, users = pa.array([KEY.bytes, key], pa.binary()), pa.array([text, str(ANNA)], pa.string())

    assert readable(keys, users) == [(KEY.bytes, b""), (b"", ANNA.bytes)]


def test_nothing() -> None:
    """Empty columns give no identities."""
    users = packed(pa.array([], pa.string()))

    assert users is not None
    assert len(users) == 0
    assert identities(pa.array([], pa.binary()), users) == []


# Texts that are nearly UUIDs: their characters are replaced by hyphens, digits and others, also of two bytes.
NEARLY = st.builds(
    lambda user, at, character: f"{str(user)[:at]}{character}{str(user)[at + 1 :]}",
    st.uuids(),
    st.integers(0, 35),
    st.sampled_from("-0aFgG \n\0\u0436"),
)
TEXTS = st.one_of(st.uuids().map(str), NEARLY, st.text(max_size=40), st.none())


@given(st.lists(TEXTS, min_size=1, max_size=4), st.integers(0, 1))
def test_packed_if_every_text_is_a_uuid(texts: list[str | None], begin: int) -> None:
    """A column is packed if and only if each text matches the pattern, and then as the UUIDs' bytes."""
    column = pa.array(texts, pa.string())[begin:]
    found = packed(column)

    if all(text is not None and re.search(UUID_PATTERN.replace(r"\z", r"\Z"), text) for text in texts[begin:]):
        assert found is not None
        assert found.to_pylist() == [uuid.UUID(text).bytes for text in texts[begin:]]
    else:
        assert found is None


def test_hyphens_out_of_place() -> None:
    """Texts with the right number of hyphens and digits in the wrong places are not UUIDs."""
    moved = "0-0000000-0000-0000-0000-00000000000" + "0"
    short, long = "0" * 8 + "-0000-0000-0000-" + "0" * 12, "-" * 36

    assert [packed(pa.array([text], pa.string())) for text in (moved, moved[:36], long)] == [None] * 3
    assert packed(pa.array([short], pa.string())) is not None
    assert packed(pa.array([short, long], pa.string())) is None


@pytest.mark.parametrize("step", [1, 2, 6])
def test_duplicates_of_users(step: int) -> None:
    """An event_id of another user is another event; one of the same user in another case is a duplicate."""
    sent = [(KEY, ANNA, 0), (KEY, BORIS, 0), (OTHER_KEY, ANNA, 0), (KEY, ANNA, 1), (KEY, BORIS, 2), (KEY, BORIS, 0)]
    messages = [
        FakeMessage(record(valid(user_id=CASES[case](user)), key.bytes), at=at)
        for at, (key, user, case) in enumerate(sent)
    ]
    window, events, rejected = DuplicateWindow(100), [], []
    for begin in range(0, len(messages), step):
        batch = messages[begin : begin + step]
        rows = without_duplicates(decode(batch), batch, window)
        events += rows.offsets
        rejected += rows.rejected

    assert events == [0, 1, 2]
    assert [(each.offset, each.reason, each.error) for each in rejected] == [
        (3, DUPLICATE, "repeats offset 0"),
        (4, DUPLICATE, "repeats offset 1"),
        (5, DUPLICATE, "repeats offset 4"),
    ]
    assert [(each.event_id, each.user_id) for each in rejected] == [
        (KEY.bytes, ANNA.bytes),
        (KEY.bytes, BORIS.bytes),
        (KEY.bytes, BORIS.bytes),
    ]
