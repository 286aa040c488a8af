"""The parent of several workers: starts them, replaces one that dies or hangs, and stops all of them in order.

The parent serves nothing itself but the management pages. It imports neither gRPC nor Kafka's client, so that it stays
small and cannot fail for the reasons for which a worker fails.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Collection, Mapping

from common.heartbeat import Heartbeat
from common.lifecycle import stopping
from common.logs import logger
from common.management import managing_pages
from common.workers.pages import worker_pages
from common.workers.port import held_port
from common.workers.process import MARGIN_SECONDS, WorkerProcess, Workers

# Pauses before a worker is started again: doubled each time, until one has run for a while.
PAUSE_SECONDS_MIN, PAUSE_SECONDS_MAX = 0.1, 10.0
STABLE_SECONDS = 60.0
EXIT_KILLED = 1
EXIT_CANNOT_SERVE = 1


def run_workers(workers: Workers) -> int:
    """Run workers on one port until a stop signal; return the exit status."""
    setting = f"{workers.server}_LISTEN"
    try:
        with held_port(workers.listen) as address:
            environment = {setting: str(address), f"{workers.server}_WORKERS": str(workers.count)}
            supervisor = WorkerSupervisor(workers, {**os.environ, **environment})
            pages = worker_pages(supervisor.management_addresses, supervisor.heartbeat)
            with managing_pages(f"{workers.server}_MANAGEMENT_LISTEN", workers.management_listen, pages):
                return asyncio.run(supervisor.run())
    except OSError as error:
        logger().error("cannot serve", setting=setting, error=f"{workers.listen}: {error.strerror}")
        return EXIT_CANNOT_SERVE


class WorkerSupervisor:
    """Runs workers until a stop signal."""

    def __init__(self, workers: Workers, environment: Mapping[str, str]) -> None:
        self._workers = workers
        self._environment = environment
        self._running: dict[int, WorkerProcess] = {}
        self._ready = asyncio.Event()
        self._status = 0
        self.heartbeat = Heartbeat()

    def management_addresses(self) -> dict[int, str | bytes]:
        """Return where the management listeners of the workers are that serve; for any thread."""
        return {number: process.management for number, process in self._running.copy().items() if process.is_serving}

    async def run(self) -> int:
        """Run the workers until a stop signal; return the exit status.

        The first worker is started alone: a setting with which none can start ends this process with one message and
        the worker's status.
        """
        async with stopping() as stop, self.heartbeat.beating():
            tasks = [asyncio.create_task(self._keep(1, stop))]
            await either(self._ready, stop)
            if not stop.is_set():
                tasks += [asyncio.create_task(self._keep(each, stop)) for each in range(2, self._workers.count + 1)]
            await stop.wait()
            await self._end(tasks)
        return self._status

    async def _keep(self, number: int, stop: asyncio.Event) -> None:
        """Run one worker, and another one in its place when it ends, until the stop."""
        pause = PAUSE_SECONDS_MIN
        while not stop.is_set():
            began = time.monotonic()
            has_served, status = await self._run_once(number)
            if stop.is_set():
                self._status = self._status or max(status, 0)
                return
            if not has_served and not any(each.is_serving for each in self._running.values()):
                # None can serve, and a supervisor outside must notice it.
                self._status = status if status > 0 else EXIT_KILLED
                stop.set()
                return
            if time.monotonic() - began > STABLE_SECONDS:
                pause = PAUSE_SECONDS_MIN
            if status:
                logger().error("a worker failed, starting another", worker=number, error=cause(status), seconds=pause)
            else:
                logger().info("a worker stopped, starting another", worker=number, seconds=pause)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await stop.wait()
            pause = min(pause * 2, PAUSE_SECONDS_MAX)

    async def _run_once(self, number: int) -> tuple[bool, int]:
        """Run a worker to its end; return whether it has served, and its exit status."""
        try:
            process = self._running[number] = WorkerProcess(self._workers, number, self._environment)
        except OSError as error:
            logger().error("a worker cannot be started", worker=number, error=str(error))
            return False, EXIT_KILLED
        status = await process.wait(self._ready.set)
        del self._running[number]
        return process.has_served, status

    async def _end(self, tasks: Collection[asyncio.Task[None]]) -> None:
        """Stop all workers at the same time; kill those that take longer than their limits allow."""
        for each in self._running.values():
            each.terminate()
        _, late = await asyncio.wait(tasks, timeout=self._workers.stop_seconds_max + MARGIN_SECONDS)
        for each in self._running.values():
            each.kill("does not stop")
        await asyncio.gather(*late)


async def either(one: asyncio.Event, other: asyncio.Event) -> None:
    """Return when one of two events is set."""
    waits = [asyncio.create_task(each.wait()) for each in (one, other)]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for each in waits:
        each.cancel()


def cause(status: int) -> str:
    """Return how a worker ended, as in `was killed by SIGKILL`."""
    return f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
