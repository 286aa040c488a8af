"""A process that generates load: `python -m tests.support.load.worker` reads loads from stdin.

For each load it opens the connections, warms the server up, prints `ready`, waits for a line, runs the load and prints
the outcome as JSON. The caller reads its clocks between these lines.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from functools import cache
from types import TracebackType
from typing import Self, TypeVar

import uvloop

from local.settings import ROOT
from tests.support.load.arrivals import poisson, spaced
from tests.support.load.bodies import bodies, refused
from tests.support.load.loops import Outcome, closed, opened
from tests.support.load.slots import GrpcSlot, Slot, connect, connect_grpc, http_request

STOP_SECONDS_MAX = 10.0
ARRIVALS = {"poisson": poisson, "spaced": spaced}
Reading = TypeVar("Reading")
bodies_of = cache(bodies)


@dataclass(frozen=True)
class Load:
    """What to send: `protocol` is http or grpc; `target` a path or a method; `slots` connections or calls in flight.

    `arrivals` is `closed`, or names a function of arrivals.py for an open loop of `per_second`. With `identified` there
    are so many different bodies, whose event_ids count from `first_identity`; 0: they have none, and are used again.
    With `is_refused` all requests are answered with an error. The calls of gRPC are spread over `connections`.
    """

    protocol: str
    address: str
    target: str
    events: int
    slots: int
    seconds: float
    warm_seconds: float = 0.5
    arrivals: str = "closed"
    per_second: float = 0.0
    seed: int = 0
    identified: int = 0
    first_identity: int = 0
    is_refused: bool = False
    connections: int = 1


class Generator:
    """Runs the worker process."""

    def __enter__(self) -> Self:
        """Start the process."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the process."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait(STOP_SECONDS_MAX)

    def run(self, load: Load, read: Callable[[], Reading]) -> tuple[Outcome, Reading, Reading]:
        """Run a load; return its outcome, and what `read` returns just before and just after it."""
        self._write(json.dumps(asdict(load)))
        if (line := self._read()) != "ready":
            raise RuntimeError(f"the load generator printed {line!r}")
        before = read()
        self._write("go")
        found = json.loads(self._read())
        after = read()
        answered = {int(number): at for number, at in found.pop("answered").items()}
        return Outcome(**found, answered=answered), before, after

    def _write(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def _read(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the load generator ended with status {self._process.wait(STOP_SECONDS_MAX)}")
        return line.strip()


async def serve(load: Load) -> None:
    """Warm up, print `ready`, wait for a line, and print the outcome of the load."""
    failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    async with open_slots(load, failed) as slots:
        if load.warm_seconds:
            await closed(slots, load.warm_seconds, failed)
        write("ready")
        sys.stdin.readline()
        if load.arrivals == "closed":
            outcome = await closed(slots, load.seconds, failed)
        else:
            due_times = ARRIVALS[load.arrivals](load.per_second, load.seconds, load.seed)
            outcome = await opened(slots, due_times, failed)
    write(json.dumps(asdict(outcome)))


@asynccontextmanager
async def open_slots(load: Load, failed: asyncio.Future[None]) -> AsyncIterator[Sequence[Slot]]:
    """Open the connections of a load, and close them when the context ends."""
    if load.is_refused:
        messages = refused(load.protocol, load.events)
    else:
        messages = bodies_of(load.protocol, load.events, load.identified, load.first_identity)
    if load.protocol == "http":
        requests = [http_request(load.address, load.target, body) for body in messages]
        status = b"400" if load.is_refused else b"201"
        connections = [await connect(load.address, requests, status, failed) for _ in range(load.slots)]
        yield connections
        for connection in connections:
            connection.close()
        return
    channels = [
        await connect_grpc(load.address, load.target, messages, failed, is_refused=load.is_refused)
        for _ in range(load.connections)
    ]
    yield [GrpcSlot(channels[at % len(channels)]) for at in range(load.slots)]
    for channel in channels:
        channel.close()


def write(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    """Serve loads until stdin ends."""
    for line in iter(sys.stdin.readline, ""):
        uvloop.run(serve(Load(**json.loads(line))))


if __name__ == "__main__":
    main()
