"""Runs a load over slots: closed, where a slot sends again once it is answered, or open, at times fixed beforehand."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count

from tests.support.load.slots import Slot

DRAIN_SECONDS_MAX = 30.0
# By so much a request may be sent late. Each wake-up of a thread costs as much as some requests.
WAKE_UP_SECONDS = 0.000_5


@dataclass
class Outcome:
    """What a load did: answered requests, and seconds until the last answer.

    Of an open loop also the latencies in seconds, and by the number of each request the Unix time of its answer.
    """

    completed: int = 0
    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    answered: dict[int, float] = field(default_factory=dict)


async def closed(slots: Sequence[Slot], seconds: float, failed: asyncio.Future[None]) -> Outcome:
    """Keep every slot busy for some seconds, then wait for the last answers."""
    finished = asyncio.get_running_loop().create_future()
    outcome, numbers, active = Outcome(), count(), len(slots)
    began = time.perf_counter()
    end = began + seconds

    def start(slot: Slot) -> None:
        def done() -> None:
            nonlocal active
            outcome.completed += 1
            if time.perf_counter() < end:
                slot.send(next(numbers), done)
                return
            active -= 1
            if not active:
                finished.set_result(None)

        slot.send(next(numbers), done)

    for slot in slots:
        start(slot)
    await first_of(finished, failed, seconds)
    outcome.seconds = time.perf_counter() - began
    return outcome


async def opened(slots: Sequence[Slot], due_times: Sequence[float], failed: asyncio.Future[None]) -> Outcome:
    """Send a request at each due time, or once a slot is free; its latency counts from the due time.

    So a slow answer does not reduce the load that follows it, and what waits for a slot is measured too.
    """
    queue = DueQueue(slots, len(due_times))
    loop = asyncio.get_running_loop()

    def pace() -> None:
        # A thread sleeps exactly to some microseconds; the timers of an event loop are rounded up to milliseconds.
        for due in together(due_times):
            if (ahead := queue.began + due[-1] - time.perf_counter()) > 0:
                time.sleep(ahead)
            if failed.done():
                return
            loop.call_soon_threadsafe(queue.arrive, due)

    pacer = threading.Thread(target=pace)
    pacer.start()
    try:
        await first_of(queue.finished, failed, due_times[-1])
    finally:
        pacer.join()
    queue.outcome.seconds = time.perf_counter() - queue.began
    return queue.outcome


def together(due_times: Sequence[float]) -> Iterator[list[float]]:
    """Yield groups of due times that are so near to one another that one wake-up sends them all, at the last one."""
    group: list[float] = []
    for due in due_times:
        if group and due - group[0] > WAKE_UP_SECONDS:
            yield group
            group = []
        group.append(due)
    if group:
        yield group


class DueQueue:
    """Requests that are due, and the slots that are idle; `finished` is set after the last of `count` answers."""

    def __init__(self, slots: Sequence[Slot], count: int) -> None:
        self.began = time.perf_counter()
        self.outcome = Outcome()
        self.finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._count = count
        self._sent = 0
        self._idle = deque(slots)
        self._waiting: deque[float] = deque()

    def arrive(self, due_times: Sequence[float]) -> None:
        """Send requests now, or when a slot is free."""
        for due in due_times:
            if self._idle:
                self._send(self._idle.popleft(), due)
            else:
                self._waiting.append(due)

    def _send(self, slot: Slot, due: float) -> None:
        number = self._sent

        def done() -> None:
            self.outcome.completed += 1
            self.outcome.answered[number] = time.time()
            self.outcome.latencies.append(time.perf_counter() - self.began - due)
            if self._waiting:
                self._send(slot, self._waiting.popleft())
            else:
                self._idle.append(slot)
            if self.outcome.completed == self._count:
                self.finished.set_result(None)

        self._sent += 1
        slot.send(number, done)


async def first_of(finished: asyncio.Future[None], failed: asyncio.Future[None], seconds: float) -> None:
    """Wait for the end of a load of some seconds; raise what failed, TimeoutError when answers stay away."""
    done, _ = await asyncio.wait(
        (finished, failed), timeout=seconds + DRAIN_SECONDS_MAX, return_when=asyncio.FIRST_COMPLETED
    )
    if not done:
        raise TimeoutError("some requests were not answered")
    done.pop().result()
