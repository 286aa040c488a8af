"""One worker as a process that its parent has started: its channel, its signs of life, and its end."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from common.logs import logger
from common.settings import Address
from common.workers.asking import open_listener
from common.workers.worker import BEAT_SECONDS, READY, arguments

# Periods without a sign of life after which a worker that has not served yet counts as hung: it loads its libraries.
START_SILENCES_MAX = 120
# How much longer than its own limits a worker may take, before it is killed.
MARGIN_SECONDS = 5.0
READ_BYTES = 4_096
POLL_SECONDS = 0.01


@dataclass(frozen=True)
class Workers:
    """Which workers to run, and their limits.

    Each runs `module`. `server` begins the names of its settings, as in UGC_INGEST. `loop_seconds_max` is how long an
    event loop may be blocked before the worker ends by itself, `stop_seconds_max` the sum of its limits after SIGTERM.
    """

    module: str
    server: str
    listen: Address
    management_listen: Address | None
    count: int
    loop_seconds_max: float
    stop_seconds_max: float


class WorkerProcess:
    """One started worker. Create it on the main thread: Linux ends the worker when the thread that made it ends."""

    def __init__(self, workers: Workers, number: int, environment: Mapping[str, str]) -> None:
        """OSError when the process cannot be started."""
        self.number = number
        self.is_serving = self.has_served = False
        self._silences_max = round((workers.loop_seconds_max + MARGIN_SECONDS) / BEAT_SECONDS)
        self._end_seconds_max = workers.stop_seconds_max + MARGIN_SECONDS
        # Where its management listener is; empty for none.
        self.management: str | bytes = ""
        self._channel, theirs = socket.socketpair()
        self._channel.settimeout(0)
        with contextlib.ExitStack() as opened:
            opened.enter_context(theirs)
            given = [theirs.fileno()]
            if workers.management_listen is not None:
                listener = opened.enter_context(open_listener())
                self.management = listener.getsockname()
                given.append(listener.fileno())
            try:
                self._process = subprocess.Popen(
                    (sys.executable, "-m", workers.module, *arguments(number, os.getpid(), *given)),
                    stdin=subprocess.DEVNULL,
                    env=environment,
                    pass_fds=given,
                    # Ctrl-C in a terminal reaches only the parent, which stops the workers in order.
                    process_group=0,
                )
            except OSError:
                self._channel.close()
                raise

    async def wait(self, on_serving: Callable[[], None]) -> int:
        """Return the exit status once the worker has ended, negative after a signal; kill it when it hangs."""
        with self._channel:
            await self._read_until_closed(on_serving)
        self.is_serving = False
        deadline = time.monotonic() + self._end_seconds_max
        while (status := self._process.poll()) is None:
            if time.monotonic() > deadline:
                self.kill("does not end")
                deadline = math.inf
            await asyncio.sleep(POLL_SECONDS)
        return status

    async def _read_until_closed(self, on_serving: Callable[[], None]) -> None:
        """Read what the worker reports until its end of the channel is closed, as at its death."""
        silences = 0
        while True:
            try:
                received = await receive(self._channel, BEAT_SECONDS)
            except ConnectionError:
                return
            if received is None:
                # Counted, not measured: this process may have been suspended together with the worker.
                silences += 1
                if silences == (self._silences_max if self.has_served else START_SILENCES_MAX):
                    self.kill("does not answer")
                continue
            if not received:
                return
            silences = 0
            if READY in received:
                self.is_serving = self.has_served = True
                on_serving()

    def terminate(self) -> None:
        """Ask the worker to stop in order."""
        self._process.terminate()
        # A process that SIGSTOP has stopped does not handle SIGTERM.
        self._process.send_signal(signal.SIGCONT)

    def kill(self, reason: str) -> None:
        """End the worker at once."""
        logger().error("a worker is killed", worker=self.number, pid=self._process.pid, reason=reason)
        self._process.kill()


async def receive(channel: socket.socket, seconds_max: float) -> bytes | None:
    """Return what arrives in time, empty at the end of a channel, None when nothing arrives; ConnectionError."""
    loop, arrived = asyncio.get_running_loop(), asyncio.Event()
    # The wait can be cancelled, the read cannot: sock_recv would lose what it has read when time runs out just then.
    loop.add_reader(channel, arrived.set)
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds_max):
                await arrived.wait()
    finally:
        loop.remove_reader(channel)
    return channel.recv(READ_BYTES) if arrived.is_set() else None
