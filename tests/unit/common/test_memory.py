"""The memory of the process, and its headroom."""

from __future__ import annotations

from common.memory import TRIM_SECONDS_MIN, MemoryHeadroom, resident_bytes

SIZE = 67_108_864


def test_resident_bytes() -> None:
    """Memory that is filled is counted."""
    before = resident_bytes()
    filled = bytearray(b"x") * SIZE
    assert len(filled) == SIZE
    assert resident_bytes() - before > SIZE // 2


def test_headroom() -> None:
    """There is headroom until the process has grown by the limit, and again when it has shrunk."""
    resident = 1_000
    has_headroom = MemoryHeadroom(100, lambda: resident, lambda: None)
    assert has_headroom()
    resident = 1_099
    assert has_headroom()
    resident = 1_100
    assert not has_headroom()
    resident = 900
    assert has_headroom()


def test_free_memory() -> None:
    """Free memory is released before there is no headroom, at most once a second."""
    resident, now = [1_000], [0.0]
    has_headroom = MemoryHeadroom(100, lambda: resident[0], lambda: resident.__setitem__(0, 1_000), lambda: now[0])
    resident[0] = 2_000
    assert has_headroom()
    resident[0] = 2_000
    assert not has_headroom()
    now[0] = TRIM_SECONDS_MIN
    assert has_headroom()
