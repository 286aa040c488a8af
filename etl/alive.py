"""`python -m etl.alive`: the liveness check of the etl; status 1 if its loop has not run for too long."""

from __future__ import annotations

import faulthandler
import sys
import time
from collections.abc import Callable
from pathlib import Path

from common.commands import Command
from common.settings import load
from etl.settings import EtlSettings

BEAT_SECONDS = 1.0
COMMAND = Command(
    name="python -m etl.alive",
    purpose="Check that the etl on this machine is alive: that UGC_ETL_ALIVE_FILE was touched recently.",
    settings="etl.settings:EtlSettings",
    statuses={0: "alive", 1: "its loop has not run for UGC_ETL_ALIVE_SECONDS_MAX, or not yet"},
)


class Heartbeat:
    """Shows that the loop makes progress: touches a file, and defers the end of the process, once in BEAT_SECONDS.

    A call to a library that never returns is beyond every other limit; the process then ends with status 1 and the
    stack of each thread on standard error, also while it closes its connections. By the delivery protocol a process
    may end at any moment.
    """

    def __init__(
        self,
        path: str,
        exit_seconds: float = 0.0,
        monotonic: Callable[[], float] = time.monotonic,
        beaten: Callable[[], None] = lambda: None,
    ) -> None:
        """Without a path no file is touched; without `exit_seconds` the process is not ended."""
        self._path = Path(path) if path else None
        self._exit_seconds = exit_seconds
        self._monotonic = monotonic
        self._beaten = beaten
        self._next = self._last = monotonic()

    def beat(self) -> None:
        """Record progress, unless that was done a moment ago."""
        if self._monotonic() < self._next:
            return
        if self._path is not None:
            self._path.touch()
        if self._exit_seconds:
            # faulthandler's thread does not need the interpreter lock, which the blocking code may hold.
            faulthandler.dump_traceback_later(self._exit_seconds, exit=True)
        self._beaten()
        self._last = self._monotonic()
        self._next = self._last + BEAT_SECONDS

    def problem(self, seconds_max: float) -> str:
        """Return that no progress was recorded for too long; empty if there was some. For any thread."""
        seconds = self._monotonic() - self._last
        return f"the loop has made no progress for {seconds:.0f} s" if seconds > seconds_max else ""


def exit_seconds(settings: EtlSettings) -> float:
    """Return how long the etl may make no progress: the wait for ClickHouse's next packet, and the liveness limit."""
    return settings.etl_connect_seconds_max + settings.etl_answer_seconds_max + settings.etl_alive_seconds_max


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
