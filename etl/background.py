"""Questions that are asked beside the loop: it looks for the answer, and does not wait for it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from concurrent.futures import Future, wait
from typing import Any, Protocol, TypeVar

Answer = TypeVar("Answer")
# Partitions that ask at the same time; others are asked for after them.
THREADS_MAX = 4
# How long a look may take: without it the loop would spin.
LOOK_SECONDS = 0.01


class Aside(Protocol):
    """Who asks a question: the generator yields until the answer is there, and returns it or raises."""

    def __call__(self, question: Callable[[], Answer]) -> Generator[None, None, Answer]:
        """Ask."""


def at_once(question: Callable[[], Answer]) -> Generator[None, None, Answer]:
    """Ask and wait, where waiting does no harm."""
    yield from ()
    return question()


def threads() -> Aside:
    """Ask in threads of their own, which do not keep the process from ending: Kafka's client exceeds its limits."""
    running: list[Future[Any]] = []

    def unanswered() -> list[Future[Any]]:
        running[:] = [each for each in running if not each.done()]
        return running

    def ask(question: Callable[[], Answer]) -> Generator[None, None, Answer]:
        while len(unanswered()) >= THREADS_MAX:
            yield
        future = in_thread(question)
        running.append(future)
        while not wait([future], LOOK_SECONDS).done:
            yield
        answer: Answer = future.result()
        return answer

    return ask


def in_thread(call: Callable[[], Any]) -> Future[Any]:
    """Call in a thread of its own, which does not keep the process from ending."""
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except Exception as error:  # noqa: BLE001 -- raised where the result is asked for
            future.set_exception(error)

    threading.Thread(target=run, name="kafka", daemon=True).start()
    return future
