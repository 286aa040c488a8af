"""An offset is a repeat exactly when its event_id is among the previous H offsets, however the log is cut."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from etl.events.duplicates import DuplicateWindow

# Few identities, so that they repeat; gaps between offsets, where undecodable messages stand.
LOGS = st.lists(st.tuples(st.integers(0, 12), st.integers(1, 4)), max_size=120)
HORIZONS = st.integers(1, 30)


def laid_out(log: list[tuple[int, int]]) -> tuple[list[bytes], list[int]]:
    """Turn identities and distances into identities and offsets."""
    offsets, at = [], 1_000
    for _, distance in log:
        at += distance
        offsets.append(at)
    return [bytes([identity]) for identity, _ in log], offsets


def naive(identities: list[bytes], offsets: list[int], horizon: int) -> dict[int, int]:
    """Say which offsets are repeats, and of which, as the sentence above does."""
    found = {}
    for index, offset in enumerate(offsets):
        earlier = [at for at, other in zip(offsets[:index], identities, strict=False) if other == identities[index]]
        if earlier and offset - earlier[-1] <= horizon:
            found[offset] = earlier[-1]
    return found


def windowed(window: DuplicateWindow, identities: list[bytes], offsets: list[int], step: int) -> dict[int, int]:
    """Say the same in batches of `step`."""
    found: dict[int, int] = {}
    for start in range(0, len(offsets), step):
        batch = offsets[start : start + step]
        repeats = window.observe(identities[start : start + step], batch)
        found |= {batch[index]: first for index, first in repeats.items()}
    return found


@given(log=LOGS, horizon=HORIZONS, step=st.integers(1, 50))
def test_verdicts(log: list[tuple[int, int]], horizon: int, step: int) -> None:
    """The verdicts are those of the definition, wherever the log is cut into batches."""
    identities, offsets = laid_out(log)

    assert windowed(DuplicateWindow(horizon), identities, offsets, step) == naive(identities, offsets, horizon)


@given(log=LOGS, horizon=HORIZONS, step=st.integers(1, 50), cut=st.floats(0, 1))
def test_takeover(log: list[tuple[int, int]], horizon: int, step: int, cut: float) -> None:
    """A new owner that has read back the last H offsets comes to the verdicts of the one before."""
    identities, offsets = laid_out(log)
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
    """One by one or in batches, no more than two horizons are remembered beyond the batch itself."""
    identities, offsets = laid_out(log)
    unique = [identity + index.to_bytes(4, "big") for index, identity in enumerate(identities)]
    window = DuplicateWindow(horizon)
    windowed(window, unique, offsets, 1)

    assert len(window._recent) + len(window._older) <= 2 * horizon + 2


def test_forgotten() -> None:
    """An event that was refused is stored nowhere, so its next copy is no repeat."""
    window = DuplicateWindow(10)
    window.observe([b"a", b"b"], [1, 2])
    window.forget(b"a", (1,))
    window.forget(b"never seen", (1,))

    assert window.observe([b"a", b"b"], [3, 4]) == {1: 2}


def test_forgotten_later() -> None:
    """So it is when the window has moved on meanwhile."""
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


def test_bound_at_every_moment() -> None:
    """In a log without gaps or repeats too, two horizons are never exceeded."""
    window = DuplicateWindow(10)
    for offset in range(1_000):
        window.observe([offset.to_bytes(4, "big")], [offset])

        assert len(window._recent) + len(window._older) <= 2 * 10 + 2


def test_refused_originals() -> None:
    """A refused event is no original: the next copy is one, and what comes after repeats that."""
    window = DuplicateWindow(10)
    identities, offsets = [b"a", b"a", b"b", b"a"], [1, 2, 3, 4]
    assert window.find(identities, offsets).last_copies == {1: 4}
    assert window.find(identities, offsets, refused={1}).earlier == {3: 2}
    assert window.find(identities, offsets, refused={1, 2}).earlier == {}

    window.add(identities, offsets, refused={1, 2})
    assert window.find([b"a"], [5]).earlier == {0: 4}


def test_refused_are_not_taken() -> None:
    """What was refused is not taken in: its next copy repeats nothing."""
    window = DuplicateWindow(10)
    window.add([b"a", b"b"], [1, 2], refused={1})

    assert window.find([b"a", b"b"], [3, 4]).earlier == {1: 2}


def test_stored_originals() -> None:
    """What is stored needs no verdict: it is an original, and no chain of the batch rests on it."""
    verdicts = DuplicateWindow(10).find([b"a", b"a", b"a"], [1, 2, 3], stored={1})

    assert (verdicts.earlier, verdicts.last_copies) == ({1: 1, 2: 2}, {})


def test_forgotten_unless_it_came_again() -> None:
    """An event that was refused is forgotten by its offset: another copy that was stored since stays."""
    window = DuplicateWindow(2)
    window.add([b"a", b"a"], [1, 9])
    window.forget(b"a", (1, 1))

    assert window.find([b"a"], [10]).earlier == {0: 9}
