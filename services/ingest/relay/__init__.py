"""RelayService: many unary calls of one client in one stream."""

from services.ingest.relay.calls import Intake, Method
from services.ingest.relay.limits import RelayLimits
from services.ingest.relay.service import SERVICE, RelayService

__all__ = ["SERVICE", "Intake", "Method", "RelayLimits", "RelayService"]
