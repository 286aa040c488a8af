"""`python -m etl.alive`: the liveness check of the etl; status 1 if its loop has not run for too long."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from common.commands import Command
from common.settings import load
from etl.events.rows import Message
from etl.loader import Source
from etl.settings import EtlSettings

BEAT_SECONDS = 1.0
COMMAND = Command(
    name="python -m etl.alive",
    purpose="Check that the etl on this machine is alive: that UGC_ETL_ALIVE_FILE was touched recently.",
    settings="etl.settings:EtlSettings",
    statuses={0: "alive", 1: "its loop has not run for UGC_ETL_ALIVE_SECONDS_MAX, or not yet"},
)


class Heartbeat:
    """Touches a file at most once in BEAT_SECONDS."""

    def __init__(self, path: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._path = Path(path) if path else None
        self._monotonic = monotonic
        self._next = monotonic()

    def beat(self) -> None:
        """Touch the file, unless that was done a moment ago."""
        if self._path is not None and self._monotonic() >= self._next:
            self._path.touch()
            self._next = self._monotonic() + BEAT_SECONDS


class BeatingSource:
    """A source that updates the heartbeat with each poll, which the loop calls once per iteration."""

    def __init__(self, source: Source, heartbeat: Heartbeat) -> None:
        self._source = source
        self._heartbeat = heartbeat

    def poll(self, count: int, seconds: float) -> Sequence[Message]:
        """Update the heartbeat, and poll."""
        self._heartbeat.beat()
        return self._source.poll(count, seconds)

    def resume(self, partition: int, offset: int) -> None:
        """Resume a partition."""
        self._source.resume(partition, offset)

    def pause(self, partition: int) -> None:
        """Pause a partition."""
        self._source.pause(partition)


def main() -> None:
    """Check the age of the heartbeat file."""
    COMMAND.parse()
    settings = load(EtlSettings)
    problem = heartbeat_problem(settings.etl_alive_file, settings.etl_alive_seconds_max)
    if problem:
        sys.exit(problem)


def heartbeat_problem(path: str, seconds_max: float) -> str:
    """Return what is wrong with a heartbeat file; empty if it is recent."""
    if not path:
        return "UGC_ETL_ALIVE_FILE is not set"
    try:
        age = time.time() - Path(path).stat().st_mtime
    except OSError as error:
        return f"{path}: {error.strerror}; the etl's loop has not run yet"
    return f"the etl's loop has not run for {age:.0f} s" if age > seconds_max else ""


if __name__ == "__main__":
    main()
