"""Rotates the logs of child processes: a log that is too large is copied and truncated while the child writes on."""

from __future__ import annotations

import os
from pathlib import Path

# A log and the copies beside it, .1 being the youngest.
LOG_BYTES_MAX = 10_000_000
LOG_COPIES_MAX = 3


def rotate(log: Path) -> None:
    """Copy a log that is too large and truncate it; its writer must append.

    A line that is written between the two is lost. Only the last LOG_BYTES_MAX bytes are copied.
    """
    try:
        size = log.stat().st_size
    except FileNotFoundError:
        return
    if size <= LOG_BYTES_MAX:
        return
    for number in range(LOG_COPIES_MAX, 1, -1):
        older = copy(log, number - 1)
        if older.exists():
            older.replace(copy(log, number))
    with log.open("rb") as source, copy(log, 1).open("wb") as target:
        source.seek(max(0, size - LOG_BYTES_MAX))
        target.write(source.read(LOG_BYTES_MAX))
    os.truncate(log, 0)


def copy(log: Path, number: int) -> Path:
    """Return the path of a copy of a log."""
    return log.with_name(f"{log.name}.{number}")
