"""Counts the events of which some have another outcome than their call."""

from __future__ import annotations

from collections.abc import Iterable

from services.ingest.batch_result import BatchResult
from services.ingest.events.violation_messages import WHOLE
from services.ingest.kafka.errors import DeliveryFailure, Remedy
from services.ingest.metrics import DENIED, INVALID, UNAVAILABLE, UNEXPLAINED_FIELD, IngestMetrics


def count_batch(metrics: IngestMetrics, result: BatchResult) -> None:
    """Count the events of a batch."""
    metrics.accepted.value += result.accepted
    if result.is_complete:
        return
    metrics.outcomes[INVALID].value += len(result.invalid) + len(result.unexplained)
    metrics.outcomes[DENIED].value += len(result.denied)
    count_unacknowledged(metrics, result.failed.values())
    for violations in result.invalid.values():
        metrics.violations(violations)
    metrics.invalid[UNEXPLAINED_FIELD].value += len(result.unexplained)


def count_unacknowledged(metrics: IngestMetrics, failures: Iterable[DeliveryFailure]) -> None:
    """Count events that Kafka has not acknowledged; one that is too large for the topic is invalid."""
    for failure in failures:
        if failure.remedy is Remedy.REDUCE_SIZE:
            metrics.outcomes[INVALID].value += 1
            metrics.invalid[WHOLE].value += 1
        else:
            metrics.outcomes[UNAVAILABLE].value += 1
