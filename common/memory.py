"""Memory of the process, for limits of allocations that no counter of its own sees."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable
from pathlib import Path

STATM = Path("/proc/self/statm")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
# Releasing free memory takes milliseconds.
TRIM_SECONDS_MIN = 1.0
# A function of glibc; other C libraries release free memory by themselves.
trim = getattr(ctypes.CDLL(None), "malloc_trim", None)


def resident_bytes() -> int:
    """Return the resident memory of the process in bytes."""
    return int(STATM.read_text().split()[1]) * PAGE_BYTES


def release_free() -> None:
    """Return free memory to the system; the C library keeps it, and it would count as resident."""
    if trim is not None:
        trim(0)


class MemoryHeadroom:
    """Tests whether the process has grown by less than `bytes_max` since this object was created."""

    def __init__(
        self,
        bytes_max: int,
        resident: Callable[[], int] = resident_bytes,
        release: Callable[[], None] = release_free,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._resident, self._release, self._clock = resident, release, clock
        self._limit = resident() + bytes_max
        self._released = -TRIM_SECONDS_MIN

    def __call__(self) -> bool:
        """Return whether there is headroom; release free memory first if there seems to be none."""
        if self._resident() < self._limit:
            return True
        if self._clock() - self._released < TRIM_SECONDS_MIN:
            return False
        self._release()
        self._released = self._clock()
        return self._resident() < self._limit
