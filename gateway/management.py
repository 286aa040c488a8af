"""The management listener of the gateway: its metrics, and whether it lives and is ready, from states kept by the loop.

The listener's threads read plain attributes, so that they answer at once, whatever the event loop does.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from common.heartbeat import Heartbeat
from common.management import managing
from common.workers.worker import Worker
from gateway.app import Gateway
from gateway.backend import Backend

SETTING = "UGC_GATEWAY_MANAGEMENT_LISTEN"
# The pause between two checks of the service; a check has a limit of time.
CHECK_SECONDS = 1.0


class Readiness:
    """Whether the gateway is ready, as its public `/readyz` answers; kept by the event loop, for any thread."""

    def __init__(self, gateway: Gateway, backend: Backend) -> None:
        self._health = gateway.health
        self._backend = backend
        self._is_serving = False
        gateway.metrics.ingest_serving.reads(lambda: float(self._is_serving))

    @contextlib.asynccontextmanager
    async def checking(self) -> AsyncIterator[None]:
        """Check the service until the block ends."""
        checks = asyncio.create_task(self._check())
        try:
            yield
        finally:
            checks.cancel()
            await asyncio.gather(checks, return_exceptions=True)

    def problem(self) -> str:
        """Return why the gateway is not ready; empty if it is."""
        return self._health.problem(is_serving=self._is_serving)

    async def _check(self) -> None:
        while True:
            self._is_serving = await self._backend.is_serving()
            await asyncio.sleep(CHECK_SECONDS)


@contextlib.asynccontextmanager
async def managed(gateway: Gateway, backend: Backend, worker: Worker | None = None) -> AsyncIterator[None]:
    """Serve the management pages in the block; nothing when the setting is empty.

    One of several workers serves them to its parent.
    """
    listen = worker.management if worker else gateway.settings.gateway_management_listen
    if listen is None:
        yield
        return
    heartbeat, readiness = Heartbeat(), Readiness(gateway, backend)
    async with heartbeat.beating(), readiness.checking():
        with managing(SETTING, listen, gateway.metrics, heartbeat.problem, readiness.problem):
            yield
