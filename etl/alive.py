"""`python -m etl.alive`: whether the etl beside it still works; status 1 when its loop has not turned for too long."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from common.commands import Command
from common.settings import load
from etl.kafka.message import Message
from etl.loader import Source
from etl.settings import EtlSettings

BEAT_SECONDS = 1.0
COMMAND = Command(
    name="python -m etl.alive",
    purpose="Check that the etl on this machine is alive: that UGC_ETL_ALIVE_FILE was touched recently.",
    settings="etl.settings:EtlSettings",
    statuses={0: "alive", 1: "its loop has not turned for UGC_ETL_ALIVE_SECONDS_MAX, or not yet"},
)


class Heartbeat:
    """Touches a file now and then, as long as it is asked to."""

    def __init__(self, path: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._path = Path(path) if path else None
        self._monotonic = monotonic
        self._next = monotonic()

    def beat(self) -> None:
        """Say that the loop has turned; of many turns in a second only one is written."""
        if self._path is not None and self._monotonic() >= self._next:
            self._path.touch()
            self._next = self._monotonic() + BEAT_SECONDS


class BeatingSource:
    """A source whose heart beats with each poll, which is once a turn of the loop."""

    def __init__(self, source: Source, heartbeat: Heartbeat) -> None:
        self._source = source
        self._heartbeat = heartbeat

    def poll(self, count: int, seconds: float) -> Sequence[Message]:
        """Beat, and poll."""
        self._heartbeat.beat()
        return self._source.poll(count, seconds)

    def start(self, partition: int, offset: int) -> None:
        """Start a partition."""
        self._source.start(partition, offset)

    def hold(self, partition: int) -> None:
        """Hold a partition."""
        self._source.hold(partition)


def main() -> None:
    """Judge the file's age."""
    COMMAND.parse()
    settings = load(EtlSettings)
    reason = silence(settings.etl_alive_file, settings.etl_alive_seconds_max)
    if reason:
        sys.exit(reason)


def silence(path: str, seconds_max: float) -> str:
    """Say what is wrong with a heartbeat; empty when it is well."""
    if not path:
        return "UGC_ETL_ALIVE_FILE is not set"
    try:
        age = time.time() - Path(path).stat().st_mtime
    except OSError as error:
        return f"{path}: {error.strerror}; the etl's loop has not turned yet"
    return f"the etl's loop has not turned for {age:.0f} s" if age > seconds_max else ""


if __name__ == "__main__":
    main()
