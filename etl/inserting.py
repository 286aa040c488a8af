"""Runs one insert at a time in the background. Meanwhile nothing else may use the connection to ClickHouse."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from typing import Protocol

from common.threads import in_thread
from etl.errors import DataRefusedError, FencedError, QuorumTimeoutError, SinkError, TooLargeError
from etl.metrics import FAILED, FENCED, REFUSED_INSERT, SPLIT, STORED, EtlMetrics
from etl.plan import Block

# The outcome of an insert that raised an error; any other error is a failure.
OUTCOMES: tuple[tuple[type[SinkError], str], ...] = (
    (FencedError, FENCED),
    (DataRefusedError, REFUSED_INSERT),
    (TooLargeError, SPLIT),
    (QuorumTimeoutError, SPLIT),
)


class Running(Protocol):
    """An insert that was started."""

    def has_ended(self) -> bool:
        """Whether it has stored its block, or failed."""

    def wait(self, seconds: float) -> None:
        """Return when it has ended, or after so long."""

    def result(self) -> None:
        """Raise the exception of an insert that has ended and failed."""


# Starts a call and returns at once.
Start = Callable[[Callable[[], None]], Running]


class Inserts:
    """The inserts of a process, one after the other.

    An insert whose partition was given up runs on: the connection is free again when it has ended.
    """

    def __init__(self, insert: Callable[[Block], None], start: Start, metrics: EtlMetrics | None = None) -> None:
        self._insert = insert
        self._start = start
        self._metrics = metrics or EtlMetrics()
        self._running: Running | None = None

    @property
    def is_running(self) -> bool:
        """Whether an insert uses the connection."""
        return self._running is not None and not self._running.has_ended()

    def insert(self, block: Block) -> Iterator[None]:
        """Store a block; yields until the insert has ended, then raises what it has raised."""
        assert not self.is_running, "the connection is in use"  # noqa: S101 -- the loader waits for it
        # Another insert may have started when this one is asked for its result.
        running = self._running = self._start(lambda: self._measured(block))
        while not running.has_ended():
            yield
        running.result()

    def _measured(self, block: Block) -> None:
        """Insert, and count the outcome; in the thread of the insert, because its partition may be given up."""
        with self._metrics.insert:
            try:
                self._insert(block)
            except SinkError as error:
                outcomes = (outcome for kind, outcome in OUTCOMES if isinstance(error, kind))
                self._metrics.inserts[next(outcomes, FAILED)].value += 1
                raise
        self._metrics.inserts[STORED].value += 1

    def wait(self, seconds: float) -> None:
        """Return when the running insert has ended, or after so long."""
        if self._running is not None:
            self._running.wait(seconds)


class Threaded:
    """A call in a daemon thread, which does not keep the process from ending."""

    def __init__(self, call: Callable[[], None]) -> None:
        self._future: Future[None] = in_thread(call)

    def has_ended(self) -> bool:
        """Whether the call has returned or failed."""
        return self._future.done()

    def wait(self, seconds: float) -> None:
        """Return when the call has ended, or after so long."""
        wait([self._future], seconds)

    def result(self) -> None:
        """Raise the exception of the call, if it failed."""
        self._future.result()


class Inline:
    """A call that has ended when it is started: nothing overlaps."""

    def __init__(self, call: Callable[[], None]) -> None:
        self._error: Exception | None = None
        try:
            call()
        except Exception as error:  # noqa: BLE001 -- raised by `result`
            self._error = error

    def has_ended(self) -> bool:
        """Whether the call has ended: always."""
        return True

    def wait(self, seconds: float) -> None:
        """Return at once."""

    def result(self) -> None:
        """Raise the exception of the call, if it failed."""
        if self._error is not None:
            raise self._error
