"""A process as one of several workers: its number, its channel to the parent, and its end when the parent ends."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Sequence

BEAT_SECONDS = 1.0
# What a worker sends to its parent.
BEAT, READY = b".", b"r"
EXIT_ORPHAN = 1
# In place of a descriptor.
NO_DESCRIPTOR = -1
PR_SET_PDEATHSIG = 1
# Loaded now: between fork and exec a process must not load anything.
LIBC = ctypes.CDLL(None)


class Worker:
    """One of several workers. Create it on the main thread: Linux ends the worker when the parent's thread ends."""

    def __init__(self, number: int, channel: int, parent: int, management: int = NO_DESCRIPTOR) -> None:
        """`channel` is the descriptor of a socket whose other end the process `parent` has.

        `management` is that of a socket that listens for the parent's requests to the management listener.
        """
        die_with_parent(parent)
        self.number = number
        # Listens for requests to the worker's management pages; None if there are none.
        self.management = None if management == NO_DESCRIPTOR else socket.socket(fileno=management)
        self._channel = socket.socket(fileno=channel)
        self._channel.settimeout(0)

    def ready(self) -> None:
        """Report that this worker serves."""
        self._send(READY)

    @contextlib.asynccontextmanager
    async def attached(self) -> AsyncIterator[None]:
        """Report in the block that the event loop runs, and end the process when the parent has ended."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._channel, self._end_as_orphan)
        beats = asyncio.create_task(self._beat())
        try:
            yield
        finally:
            beats.cancel()
            loop.remove_reader(self._channel)

    async def _beat(self) -> None:
        while True:
            self._send(BEAT)
            await asyncio.sleep(BEAT_SECONDS)

    def _send(self, message: bytes) -> None:
        # The parent reads nothing while it is stopped; when it has ended, this process ends too.
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            self._channel.send(message)

    def _end_as_orphan(self) -> None:
        """End at once: the parent sends nothing, so this is the end of its socket."""
        os._exit(EXIT_ORPHAN)


@contextlib.asynccontextmanager
async def attached(worker: Worker | None) -> AsyncIterator[None]:
    """Attach a worker to its parent in the block; a process that is the only one has no parent to be attached to."""
    if worker is None:
        yield
        return
    async with worker.attached():
        yield


def arguments(number: int, parent: int, channel: int, management: int = NO_DESCRIPTOR) -> tuple[str, ...]:
    """Return the command-line arguments of a worker, which also name it in a list of processes."""
    return f"worker={number}", f"parent={parent}", f"channel={channel}", f"management={management}"


def this_worker(given: Sequence[str]) -> Worker:
    """Return this process as the worker that its arguments describe."""
    values = {name: int(value) for name, value in (each.split("=") for each in given)}
    return Worker(values["worker"], values["channel"], values["parent"], values["management"])


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent dies; only on Linux."""
    if not sys.platform.startswith("linux"):
        return
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # The parent may have died before the call above.
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
