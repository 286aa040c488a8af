"""Liveness and readiness of the etl, for its management listener."""

from __future__ import annotations

import threading

from etl.alive import Heartbeat
from etl.kafka.membership import Membership
from etl.progress import Progress


class Health:
    """Answers the probes, in threads of the listener."""

    def __init__(
        self,
        heartbeat: Heartbeat,
        alive_seconds_max: float,
        membership: Membership,
        progress: Progress,
        stop: threading.Event,
    ) -> None:
        self._heartbeat = heartbeat
        self._alive_seconds_max = alive_seconds_max
        self._membership = membership
        self._progress = progress
        self._stop = stop

    def live(self) -> str:
        """Return why the process should be replaced; empty if its loop makes progress, whatever its stores do."""
        return self._heartbeat.problem(self._alive_seconds_max)

    def ready(self) -> str:
        """Return why the process does not load its share; empty if it does, also if others own all partitions."""
        if self._stop.is_set():
            return "stopping"
        return self._membership.problem() or self._progress.stuck()

    def notes(self) -> str:
        """Return what a person must look after although the process is ready: its halted partitions, a line each."""
        return "\n".join(self._progress.halted_partitions())
