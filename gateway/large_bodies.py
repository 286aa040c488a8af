"""Reads large bodies beside the event loop: one at a time, a bounded queue before it, nothing for clients that left."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from gateway.errors import OverloadedError

T = TypeVar("T")


@dataclass
class LargeBodies:
    """One worker: the values of a large body may take many times its bytes."""

    waiting_max: int
    wait_seconds_max: float
    waiting: int = field(default=0, init=False)
    _worker: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "large-body"), init=False)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)

    async def run(self, work: Callable[[], T], is_gone: Callable[[], bool]) -> T:
        """Return what the work returns; OverloadedError when too many wait or the turn does not come in time."""
        if self.waiting >= self.waiting_max:
            raise OverloadedError("too many large bodies wait, try again")
        self.waiting += 1
        try:
            async with asyncio.timeout(self.wait_seconds_max):
                await self._turn.acquire()
        except TimeoutError as error:
            raise OverloadedError(f"a large body waited {self.wait_seconds_max:g} s for its turn, try again") from error
        finally:
            self.waiting -= 1
        try:
            if is_gone():
                raise ConnectionResetError("the client has left")
            return await asyncio.get_running_loop().run_in_executor(self._worker, work)
        finally:
            self._turn.release()

    def close(self) -> None:
        """Take no more work."""
        self._worker.shutdown(wait=False)
