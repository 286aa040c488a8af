"""The metrics of the gateway, each declared once."""

from __future__ import annotations

from common.metrics import Metrics


class GatewayMetrics(Metrics):
    """The metrics of one process."""
