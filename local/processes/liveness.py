"""Finds supervised programs that hang: their liveness probes run in a thread, so that supervision never waits."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Mapping

# A program counts as hung after this many failures in a row, a minute or two: a busy machine is slow, too.
PROBE_PAUSE_SECONDS = 5.0
FAILURES_MAX = 12


class Liveness:
    """Runs the `probes` periodically; `hung` has the keys of those that fail again and again."""

    def __init__(self, probes: Callable[[], Mapping[Hashable, Callable[[], bool]]]) -> None:
        self._probes = probes
        self._failures: dict[Hashable, int] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._probe_until_stopped, name="liveness", daemon=True)

    @property
    def hung(self) -> set[Hashable]:
        """The keys whose probe failed too often in a row."""
        return {key for key, failures in list(self._failures.items()) if failures >= FAILURES_MAX}

    def start(self) -> None:
        """Start the thread, once."""
        if not self._thread.is_alive():
            self._thread.start()

    def stop(self) -> None:
        """Stop the thread; a probe that is running ends by its own limit."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def _probe_until_stopped(self) -> None:
        while not self._stopped.wait(PROBE_PAUSE_SECONDS):
            probes = self._probes()
            # A program that was restarted has another key.
            self._failures = {key: self._failures.get(key, 0) for key in probes}
            for key, answers in probes.items():
                if self._stopped.is_set():
                    return
                self._failures[key] = 0 if answers() else self._failures[key] + 1
