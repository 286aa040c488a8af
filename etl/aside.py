"""Questions that are asked beside the loop: it looks for the answer, and does not wait for it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
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


@contextlib.contextmanager
def threads() -> Iterator[Aside]:
    """Ask in threads of their own; on the way out wait for the questions that were asked, each of which has a limit."""
    pool = ThreadPoolExecutor(THREADS_MAX, thread_name_prefix="aside")

    def ask(question: Callable[[], Answer]) -> Generator[None, None, Answer]:
        future = pool.submit(question)
        try:
            while not wait([future], LOOK_SECONDS).done:
                yield
        finally:
            future.cancel()
        return future.result()

    try:
        yield ask
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def in_thread(call: Callable[[], Any]) -> Future[Any]:
    """Call in a thread of its own, which does not keep the process from ending."""
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except Exception as error:  # noqa: BLE001 -- raised where the result is asked for
            future.set_exception(error)

    threading.Thread(target=run, name="commit", daemon=True).start()
    return future
