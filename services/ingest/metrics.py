"""The metrics of ingest, each declared once."""

from __future__ import annotations

from common.metrics import Metrics


class IngestMetrics(Metrics):
    """The metrics of one process."""
