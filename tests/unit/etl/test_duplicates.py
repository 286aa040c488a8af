"""An event is a duplicate if and only if its identity is among the previous H offsets, whatever the batches are."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from etl.events.duplicates import DuplicateWindow

# Few identities, so that they repeat, and gaps between offsets, as undecodable messages leave them.
LOGS = st.lists(st.tuples(st.integers(0, 12), st.integers(1, 4)), max_size=120)
HORIZONS = st.integers(1, 30)


def to_columns(log: list[tuple[int, int]]) -> tuple[list[bytes], list[int]]:
    """Return identities and offsets for identities and distances."""
    offsets, at = [], 1_000
    for _, distance in log:
        at += distance
        offsets.append(at)
    return [bytes([identity]) for identity, _ in log], offsets


def naive(identities: list[bytes], offsets: list[int], horizon: int) -> dict[int, int]:
    """Return the duplicates and their previous copies, by the definition above."""
    found = {}
    for index, offset in enumerate(offsets):
        earlier = [at for at, other in zip(offsets[:index], identities, strict=False) if other == identities[index]]
        if earlier and offset - earlier[-1] <= horizon:
            found[offset] = earlier[-1]
    return found


def windowed(window: DuplicateWindow, identities: list[bytes], offsets: list[int], step: int) -> dict[int, int]:
    """Return the same, found in batches of `step`."""
    found: dict[int, int] = {}
    for start in range(0, len(offsets), step):
        batch = offsets[start : start + step]
        duplicates = window.observe(identities[start : start + step], batch)
        found |= {batch[index]: first for index, first in duplicates.items()}
    return found


@given(log=LOGS, horizon=HORIZONS, step=st.integers(1, 50))
def test_any_batches(log: list[tuple[int, int]], horizon: int, step: int) -> None:
    """The duplicates are those of the definition, whatever the batches are."""
    identities, offsets = to_columns(log)

    assert windowed(DuplicateWindow(horizon), identities, offsets, step) == naive(identities, offsets, horizon)


@given(log=LOGS, horizon=HORIZONS, step=st.integers(1, 50), cut=st.floats(0, 1))
def test_takeover(log: list[tuple[int, int]], horizon: int, step: int, cut: float) -> None:
    """A new owner that has read the last H offsets finds the same duplicates as the former one."""
    identities, offsets = to_columns(log)
    at = int(cut * len(offsets))
    window = DuplicateWindow(horizon)
    if at < len(offsets):
        known = [index for index in range(at) if offsets[index] >= offsets[at] - horizon]
        window.observe([identities[index] for index in known], [offsets[index] for index in known])
    found = windowed(window, identities[at:], offsets[at:], step)

    assert found == {
        offset: first for offset, first in naive(identities, offsets, horizon).items() if offset in offsets[at:]
    }


@given(log=LOGS, horizon=HORIZONS)
def test_memory(log: list[tuple[int, int]], horizon: int) -> None:
    """The window holds at most two horizons in addition to the batch."""
    identities, offsets = to_columns(log)
    unique = [identity + index.to_bytes(4, "big") for index, identity in enumerate(identities)]
    window = DuplicateWindow(horizon)
    windowed(window, unique, offsets, 1)

    assert len(window._recent) + len(window._older) <= 2 * horizon + 2


def test_forgotten() -> None:
    """A refused event is not stored, so its next copy is not a duplicate."""
    window = DuplicateWindow(10)
    window.observe([b"a", b"b"], [1, 2])
    window.forget(b"a", (1,))
    window.forget(b"never seen", (1,))

    assert window.observe([b"a", b"b"], [3, 4]) == {1: 2}


def test_forgotten_later() -> None:
    """A refused event is also removed from the older generation."""
    window = DuplicateWindow(5)
    window.observe([b"a", b"b", b"c"], [1, 5, 6])
    assert window._older.keys() == {b"a", b"b", b"c"}
    window.forget(b"b", (5,))

    assert window.observe([b"b", b"c"], [7, 8]) == {1: 6}


def test_nothing() -> None:
    """A batch without events changes nothing."""
    window = DuplicateWindow(10)
    window.observe([b"a"], [1])

    assert window.observe([], []) == {}
    assert window.observe([b"a"], [11]) == {0: 1}


def test_memory_without_duplicates() -> None:
    """The window never holds more than two horizons, also in a log without gaps or duplicates."""
    window = DuplicateWindow(10)
    for offset in range(1_000):
        window.observe([offset.to_bytes(4, "big")], [offset])

        assert len(window._recent) + len(window._older) <= 2 * 10 + 2


def test_refused_originals() -> None:
    """A refused event is not an original: the next copy is one, and later copies are duplicates of that."""
    window = DuplicateWindow(10)
    identities, offsets = [b"a", b"a", b"b", b"a"], [1, 2, 3, 4]
    assert window.find(identities, offsets).last_copies == {1: 4}
    assert window.find(identities, offsets, refused={1}).earlier == {3: 2}
    assert window.find(identities, offsets, refused={1, 2}).earlier == {}

    window.add(identities, offsets, refused={1, 2})
    assert window.find([b"a"], [5]).earlier == {0: 4}


def test_refused_events_are_not_added() -> None:
    """A refused event is not added, so its next copy is not a duplicate."""
    window = DuplicateWindow(10)
    window.add([b"a", b"b"], [1, 2], refused={1})

    assert window.find([b"a", b"b"], [3, 4]).earlier == {1: 2}


def test_stored_originals() -> None:
    """A stored event is an original, and is not listed among the originals that must be probed."""
    found = DuplicateWindow(10).find([b"a", b"a", b"a"], [1, 2, 3], stored={1})

    assert (found.earlier, found.last_copies) == ({1: 1, 2: 2}, {})


def test_a_later_copy_is_not_forgotten() -> None:
    """A refused event is removed by its offset, so a later copy that was stored stays in the window."""
    window = DuplicateWindow(2)
    window.add([b"a", b"a"], [1, 9])
    window.forget(b"a", (1, 1))

    assert window.find([b"a"], [10]).earlier == {0: 9}
