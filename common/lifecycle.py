"""Stop signals: a server's handler sets a flag, and the code that waits for the flag closes what it opened.

A command that ends by itself is interrupted at once, with one line and the exit status that shells expect.
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

# Below the maximum of macOS, which reports its limit as infinite.
OPEN_FILES_MAX = 10_240
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# Shells report a process that a signal ended with this status plus the number of the signal.
EXIT_SIGNALLED = 128
# A command that has not ended after this time is interrupted again.
AGAIN_SECONDS = 5.0


def allow_open_files() -> None:
    """Raise the process's limit of open files as far as the system allows; each connection needs one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = OPEN_FILES_MAX if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES_MAX)
    if soft != resource.RLIM_INFINITY and soft < files:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))


@contextlib.asynccontextmanager
async def stopping() -> AsyncIterator[asyncio.Event]:
    """Yield an event that the first stop signal sets; for processes with an event loop."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in STOP_SIGNALS:
            loop.remove_signal_handler(number)


class StopFlag(threading.Event):
    """An event that a stop signal sets, with the number of the signal."""

    number = 0


@contextlib.contextmanager
def stop_flag() -> Iterator[StopFlag]:
    """Yield a flag that the first stop signal sets; for processes with a plain loop on the main thread."""
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
    """A stop signal has arrived; raised on the main thread at any point, as KeyboardInterrupt is."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class Interruption:
    """The signal handler of a command: raises Interrupted at once, or after a block that must not be interrupted."""

    def __init__(self) -> None:
        self._is_deferred = False
        self._waiting: int | None = None
        self._raised: int | None = None

    def handle(self, number: int, _frame: FrameType | None) -> None:
        """Raise Interrupted, or keep the signal until the end of a `deferred` block."""
        if self._is_deferred:
            self._waiting = number
            return
        self._interrupt(number)

    def again(self, _number: int, frame: FrameType | None) -> None:
        """Raise Interrupted again, because the first one was lost."""
        if self._raised is not None:
            self.handle(self._raised, frame)

    def _interrupt(self, number: int) -> None:
        # Python drops exceptions in destructors and in callbacks of weak references, which imports use too.
        self._raised = number
        signal.setitimer(signal.ITIMER_REAL, AGAIN_SECONDS)
        raise Interrupted(number)

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Keep a signal that arrives during the block until its end."""
        self._is_deferred = True
        try:
            yield
        finally:
            self._is_deferred = False
        if self._waiting is not None:
            self._interrupt(self._waiting)


@contextlib.contextmanager
def interruptible(program: str) -> Iterator[Interruption]:
    """Let a stop signal end a command with one line on standard error and exit status 128 plus the signal's number."""
    interruption = Interruption()
    before = {signal.SIGALRM: signal.signal(signal.SIGALRM, interruption.again)}
    before |= {number: signal.signal(number, interruption.handle) for number in STOP_SIGNALS}
    try:
        yield interruption
    except Interrupted as signalled:
        signal.setitimer(signal.ITIMER_REAL, 0)
        # A second signal kills the process.
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        sys.stderr.write(f"{program}: interrupted by {signalled}\n")
        sys.exit(EXIT_SIGNALLED + signalled.number)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
