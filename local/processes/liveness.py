"""Finds supervised programs that run and answer nothing; asked in the background so that supervision never waits."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Mapping

# A program counts as hung after so many failures in a row, a minute or two, so that a busy machine is no reason.
PROBE_PAUSE_SECONDS = 5.0
FAILURES_MAX = 12


class Liveness:
    """Asks each of `probes` again and again; `hung` has the keys of those that never answer."""

    def __init__(self, probes: Callable[[], Mapping[Hashable, Callable[[], bool]]]) -> None:
        self._probes = probes
        self._failures: dict[Hashable, int] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._ask_until_stopped, name="liveness", daemon=True)

    @property
    def hung(self) -> set[Hashable]:
        """The keys whose probe failed too often in a row."""
        return {key for key, failures in list(self._failures.items()) if failures >= FAILURES_MAX}

    def start(self) -> None:
        """Begin to ask; once."""
        if not self._thread.is_alive():
            self._thread.start()

    def stop(self) -> None:
        """Ask no more; a probe that runs ends by its own limit."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def _ask_until_stopped(self) -> None:
        while not self._stopped.wait(PROBE_PAUSE_SECONDS):
            probes = self._probes()
            # A program that was started again is another key.
            self._failures = {key: self._failures.get(key, 0) for key in probes}
            for key, answers in probes.items():
                if self._stopped.is_set():
                    return
                self._failures[key] = 0 if answers() else self._failures[key] + 1
