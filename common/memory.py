"""How much memory the process takes, for limits of what no other counter sees."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable
from pathlib import Path

STATM = Path("/proc/self/statm")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
# To give memory back takes milliseconds.
TRIM_SECONDS_MIN = 1.0
# glibc has it, other C libraries give memory back by themselves.
trim = getattr(ctypes.CDLL(None), "malloc_trim", None)


def resident_bytes() -> int:
    """Return the bytes of memory that the process holds at present."""
    return int(STATM.read_text().split()[1]) * PAGE_BYTES


def give_back() -> None:
    """Give memory that is free back to the system; the C library keeps it, so that it would count as held."""
    if trim is not None:
        trim(0)


class MemoryRoom:
    """Whether the process holds less than so many bytes more than when this was made."""

    def __init__(
        self,
        bytes_max: int,
        held: Callable[[], int] = resident_bytes,
        release: Callable[[], None] = give_back,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._held, self._release, self._clock = held, release, clock
        self._limit = held() + bytes_max
        self._released = -TRIM_SECONDS_MIN

    def __call__(self) -> bool:
        """Return whether there is room, after memory that is free was given back."""
        if self._held() < self._limit:
            return True
        if self._clock() - self._released < TRIM_SECONDS_MIN:
            return False
        self._release()
        self._released = self._clock()
        return self._held() < self._limit
