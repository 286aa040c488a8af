"""A worker reports to its parent, and ends when the parent's end of the channel is closed."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from common.workers.worker import BEAT, READY, arguments

SECONDS_MAX = 60
CODE = """
import asyncio, sys
from common.workers.worker import attached, this_worker

async def main(worker):
    async with attached(worker):
        worker.ready()
        await asyncio.Event().wait()

asyncio.run(main(this_worker(sys.argv[1:])))
"""


@pytest.fixture
def channel() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Yield both ends of a channel."""
    parents_end, workers_end = socket.socketpair()
    with parents_end, workers_end:
        parents_end.settimeout(SECONDS_MAX)
        yield parents_end, workers_end


def started(workers_end: socket.socket, parent: int) -> subprocess.Popen[str]:
    """Start a worker of a parent."""
    command = [sys.executable, "-c", CODE, *arguments(3, parent, workers_end.fileno())]
    return subprocess.Popen(command, pass_fds=(workers_end.fileno(),), stderr=subprocess.PIPE, text=True)


def test_reports(channel: tuple[socket.socket, socket.socket]) -> None:
    """A worker reports that it serves, and again and again that its loop runs; it ends when the channel is closed."""
    parents_end, workers_end = channel
    with started(workers_end, os.getpid()) as worker:
        workers_end.close()
        received = b""
        while received.count(BEAT) < 2 or READY not in received:
            received += parents_end.recv(100)
        parents_end.close()
        assert worker.wait(SECONDS_MAX) == 1
        assert worker.stderr is not None
        assert worker.stderr.read() == ""


def test_parent_that_ended_before(channel: tuple[socket.socket, socket.socket]) -> None:
    """A worker whose parent ended before it asked for the signal of that death ends at once."""
    _parents_end, workers_end = channel
    with started(workers_end, os.getppid()) as worker:
        assert worker.wait(SECONDS_MAX) == -9
