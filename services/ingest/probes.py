"""What the management listener reports as the state of the process; its threads read what the event loop writes."""

from __future__ import annotations

from common.heartbeat import Heartbeat
from services.ingest.metrics import IngestMetrics

STOPPING = "the server is stopping"
UNKNOWN = "Kafka has not been reached yet"


class Probes:
    """Whether the process is alive, and ready for calls."""

    def __init__(self, metrics: IngestMetrics) -> None:
        """`metrics` show whether Kafka is reachable."""
        self.heartbeat = Heartbeat()
        self._is_reachable = metrics.is_reachable
        self._problem = UNKNOWN
        self._is_stopping = False

    def live(self) -> str:
        """Return why the process should be started again; empty while its event loop turns."""
        return self.heartbeat.problem()

    def ready(self) -> str:
        """Return why the process should get no calls now, in which it would not accept events; empty otherwise."""
        return STOPPING if self._is_stopping else self.live() or self._problem

    def reached(self) -> None:
        """Kafka is reachable."""
        self._problem = ""
        self._is_reachable.value = 1

    def failed(self, error: BaseException) -> None:
        """Kafka is not reachable."""
        self._problem = f"Kafka is not reachable: {error}"
        self._is_reachable.value = 0

    def stop(self) -> None:
        """Report from now on that the process is about to end."""
        self._is_stopping = True
