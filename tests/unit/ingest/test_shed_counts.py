"""The counts of shed events, by the limit that was reached."""

from __future__ import annotations

from google.rpc.code_pb2 import RESOURCE_EXHAUSTED

from services.ingest.limits.event_admission import Shed
from services.ingest.metrics import IngestMetrics


def test_shed_between_two_changes() -> None:
    """A scrape between the two changes that count one refusal finds no counter lower than before."""
    metrics, shed = IngestMetrics(), Shed()
    metrics.read_shed(shed)
    metrics.produce.refused(RESOURCE_EXHAUSTED, b"")
    assert metrics.shed.read is not None
    before = metrics.shed.read()
    shed.limit += 1

    assert metrics.shed.read() == {**before, ("limit",): 1}
    assert before[("memory",)] == 1
