"""The memory of this process, and whether there is room in it."""

from __future__ import annotations

from common.memory import TRIM_SECONDS_MIN, MemoryHeadroom, resident_bytes

SIZE = 67_108_864


def test_resident_bytes() -> None:
    """What is filled is counted."""
    before = resident_bytes()
    filled = bytearray(b"x") * SIZE
    assert len(filled) == SIZE
    assert resident_bytes() - before > SIZE // 2


def test_room() -> None:
    """There is room until so much more is held than at first, and again afterwards."""
    held = 1_000
    room = MemoryHeadroom(100, lambda: held, lambda: None)
    assert room()
    held = 1_099
    assert room()
    held = 1_100
    assert not room()
    held = 900
    assert room()


def test_room_of_what_is_free() -> None:
    """Memory that is held and free is given back, not more often than each second."""
    held, now = [1_000], [0.0]
    room = MemoryHeadroom(100, lambda: held[0], lambda: held.__setitem__(0, 1_000), lambda: now[0])
    held[0] = 2_000
    assert room()
    held[0] = 2_000
    assert not room()
    now[0] = TRIM_SECONDS_MIN
    assert room()
