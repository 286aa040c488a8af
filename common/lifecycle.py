"""How a process ends: a server's stop signals set a flag, and whoever waits for the flag unwinds what it opened.

A command that ends by itself is interrupted where it stands, with one line and the status that shells expect.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import signal
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from types import FrameType

# Less than what macOS takes where it calls its limit infinite.
OPEN_FILES_MAX = 10_240
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# What shells make of a process that a signal ended.
EXIT_SIGNALLED = 128
# After so long a command that has not ended is interrupted once more.
AGAIN_SECONDS = 5.0


def allow_open_files() -> None:
    """Raise the process's limit of open files as far as the system lets it; a connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = OPEN_FILES_MAX if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES_MAX)
    if soft != resource.RLIM_INFINITY and soft < files:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))


@contextlib.asynccontextmanager
async def stopping() -> AsyncIterator[asyncio.Event]:
    """Yield an event that the first stop signal sets; for processes that live in an event loop."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in STOP_SIGNALS:
            loop.remove_signal_handler(number)


class StopFlag(threading.Event):
    """Set by a stop signal, whose number it keeps."""

    number = 0


@contextlib.contextmanager
def stop_flag() -> Iterator[StopFlag]:
    """Yield a flag that the first stop signal sets; for processes that live in a plain loop on the main thread."""
    stop = StopFlag()

    def handle(number: int, _frame: FrameType | None) -> None:
        stop.number = stop.number or number
        stop.set()

    before = {number: signal.signal(number, handle) for number in STOP_SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Interrupted(BaseException):
    """A stop signal arrived; raised on the main thread wherever it stands, as KeyboardInterrupt is."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class Interruption:
    """What a stop signal does to a command: it ends it at once, or after the part that must not be cut."""

    def __init__(self) -> None:
        self._held = False
        self._waiting: int | None = None
        self._raised: int | None = None

    def handle(self, number: int, _frame: FrameType | None) -> None:
        """Take a signal: raise Interrupted, or keep it until it is no longer held."""
        if self._held:
            self._waiting = number
            return
        self._interrupt(number)

    def again(self, _number: int, frame: FrameType | None) -> None:
        """Raise it once more: it has not arrived."""
        if self._raised is not None:
            self.handle(self._raised, frame)

    def _interrupt(self, number: int) -> None:
        # Python drops what is raised in a destructor or in the callback of a weak reference, imports among them.
        self._raised = number
        signal.setitimer(signal.ITIMER_REAL, AGAIN_SECONDS)
        raise Interrupted(number)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keep a signal that arrives meanwhile until the end of the block."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
        if self._waiting is not None:
            self._interrupt(self._waiting)


@contextlib.contextmanager
def interruptible(program: str) -> Iterator[Interruption]:
    """Let a stop signal end a command: one line on standard error, exit status 128 and the signal's number."""
    interruption = Interruption()
    before = {signal.SIGALRM: signal.signal(signal.SIGALRM, interruption.again)}
    before |= {number: signal.signal(number, interruption.handle) for number in STOP_SIGNALS}
    try:
        yield interruption
    except Interrupted as signalled:
        signal.setitimer(signal.ITIMER_REAL, 0)
        # A second signal ends the process wherever it stands.
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        sys.stderr.write(f"{program}: interrupted by {signalled}\n")
        sys.exit(EXIT_SIGNALLED + signalled.number)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
