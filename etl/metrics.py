"""The metrics of the etl, each declared once."""

from __future__ import annotations

from common.metrics import Metrics


class EtlMetrics(Metrics):
    """The metrics of one process."""
