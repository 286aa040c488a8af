"""Measures the CPU time of whole processes while a backlog is loaded."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from db.clickhouse.client import ClickHouse

IDLE_SECONDS = 3.0
# A query costs ClickHouse about a millisecond.
POLL_SECONDS = 0.3
DRAIN_SECONDS_MAX = 900.0
SETTLED_SECONDS, SETTLE_SECONDS_MAX = 2.0, 180.0


@dataclass(frozen=True)
class Cost:
    """The cost of loading a backlog: CPU seconds until the last row is visible, and for merges after it; and the rate.

    `seconds` are from the start, `rows_per_second` from the first rows to the last; `parts` were inserted. `peak` is
    the largest resident memory of the client in bytes, 0 if it was not measured.
    """

    client: float
    server: float
    merges: float
    parts: int
    seconds: float
    rows_per_second: float
    peak: int = 0


class Meter:
    """Reads the CPU clocks before and after `events` are loaded into a database; `server` is the pid of ClickHouse."""

    def __init__(self, server: int, database: ClickHouse, events: int) -> None:
        self._pid = server
        self._database = database
        self._events = events
        self._client = self._server = self._merges = self._seconds = 0.0

    def __enter__(self) -> Meter:
        """Measure ClickHouse's idle use, then start the clocks."""
        self._settle()
        before = cpu_seconds(self._pid)
        time.sleep(IDLE_SECONDS)
        self._idle_per_second = (cpu_seconds(self._pid) - before) / IDLE_SECONDS
        self._began, self._before = time.monotonic(), cpu_seconds(self._pid)
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to release."""

    def await_rows(self, client_cpu: Callable[[], float]) -> None:
        """Wait until every event is a row and read the clocks; then wait for the merges and read again."""
        await_true(lambda: self._rows() >= self._events)
        self._client, self._seconds = client_cpu(), time.monotonic() - self._began
        self._server = self._since(self._before, self._began)
        before, began = cpu_seconds(self._pid), time.monotonic()
        self._settle()
        self._merges = self._since(before, began)

    def cost(self, start_up: float) -> Cost:
        """Return the cost; the rate is measured from the first part to the last, by the server's clock."""
        assert self._rows() == self._events, "some events are stored twice"
        self._database.rows("SYSTEM FLUSH LOGS part_log")
        ((parts, rows, seconds),) = self._database.rows(
            "SELECT count(), sum(rows) - argMin(rows, event_time_microseconds),"
            " dateDiff('microsecond', min(event_time_microseconds), max(event_time_microseconds)) / 1e6"
            " FROM system.part_log WHERE event_type = 'NewPart' AND table = 'events' AND database = currentDatabase()"
        )
        # A single part has no interval.
        rate = rows / seconds if seconds else self._events / self._seconds
        return Cost(self._client - start_up, self._server, self._merges, parts, self._seconds, rate)

    def _rows(self) -> int:
        ((found,),) = self._database.rows("SELECT count() FROM events")
        return int(found)

    def _since(self, before: float, began: float) -> float:
        return cpu_seconds(self._pid) - before - self._idle_per_second * (time.monotonic() - began)

    def _settle(self) -> None:
        """Wait until no merge has run for some seconds."""
        deadline = time.monotonic() + SETTLE_SECONDS_MAX
        quiet_since = time.monotonic()
        while time.monotonic() - quiet_since < SETTLED_SECONDS and time.monotonic() < deadline:
            if self._database.rows("SELECT count() FROM system.merges")[0][0]:
                quiet_since = time.monotonic()
            time.sleep(POLL_SECONDS)


def cpu_seconds(pid: int) -> float:
    """Return the user and system time of all threads of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_bytes(pid: int) -> int:
    """Return the peak resident memory of a process."""
    (line,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def await_true(ask: Callable[[], bool]) -> None:
    """Wait until `ask` returns true; raise TimeoutError after DRAIN_SECONDS_MAX."""
    deadline = time.monotonic() + DRAIN_SECONDS_MAX
    while not ask():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not done after {DRAIN_SECONDS_MAX:g} s")
        time.sleep(POLL_SECONDS)
