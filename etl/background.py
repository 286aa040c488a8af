"""Runs blocking calls in threads, so that the loader's loop does not wait for their results."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from concurrent.futures import Future, wait
from typing import Protocol, TypeVar

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


def in_thread(call: Callable[[], Result]) -> Future[Result]:
    """Run a call in a new daemon thread, which does not keep the process from ending."""
    future: Future[Result] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except Exception as error:  # noqa: BLE001 -- raised where the result is read
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future
