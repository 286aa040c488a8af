"""Runs blocking calls in threads, so that the loader's loop does not wait for their results."""

from __future__ import annotations

from collections.abc import Callable, Generator
from concurrent.futures import Future, wait
from typing import Protocol, TypeVar

from common.threads import in_thread

Result = TypeVar("Result")
# Calls that run at the same time; further ones wait.
THREADS_MAX = 4
# How long one check for a result may take; without a wait the loop would spin.
CHECK_SECONDS = 0.01


class Background(Protocol):
    """Runs a call: the generator yields until the call has ended, then returns its result or raises its exception."""

    def __call__(self, call: Callable[[], Result]) -> Generator[None, None, Result]:
        """Run the call."""


def inline(call: Callable[[], Result]) -> Generator[None, None, Result]:
    """Run a call at once, in the calling thread."""
    yield from ()
    return call()


def threads() -> Background:
    """Return a runner that uses daemon threads, because calls of Kafka's client may exceed their timeouts."""
    running: list[Future[object]] = []

    def is_full() -> bool:
        running[:] = [each for each in running if not each.done()]
        return len(running) >= THREADS_MAX

    def run(call: Callable[[], Result]) -> Generator[None, None, Result]:
        while is_full():
            yield
        future = in_thread(call)
        running.append(future)  # type: ignore[arg-type]  # only its end matters here, not its result
        while not wait([future], CHECK_SECONDS).done:
            yield
        return future.result()

    return run
