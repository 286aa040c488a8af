"""Blocking calls in threads that do not keep the process from ending."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

Result = TypeVar("Result")


def in_thread(call: Callable[[], Result]) -> Future[Result]:
    """Run a call in a new daemon thread, which does not keep the process from ending."""
    future: Future[Result] = Future()
    # Whoever cancels it stops to wait for the result; the call runs on.
    future.set_running_or_notify_cancel()

    def run() -> None:
        try:
            future.set_result(call())
        except Exception as error:  # noqa: BLE001 -- raised where the result is read
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future
