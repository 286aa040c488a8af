"""The series that Prometheus has of the three processes, from the declarations of their metrics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from common.metrics import Counter, Gauge, Histogram, LabelValues, Metrics
from etl.metrics import EtlMetrics
from gateway.metrics import GatewayMetrics
from services.ingest.metrics import IngestMetrics

Family = Counter | Gauge | Histogram
PROCESSES: dict[str, type[Metrics]] = {"ingest": IngestMetrics, "gateway": GatewayMetrics, "etl": EtlMetrics}
SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
# What Prometheus adds to each series that it scrapes, and the bound of a bucket.
OF_PROMETHEUS = {"job", "instance", "le"}


def families() -> dict[str, Family]:
    """Return every declared metric by its name."""
    return {family.name: family for kind in PROCESSES.values() for family in kind().families}


def series_of(family: Family) -> tuple[str, ...]:
    """Return the names of a metric's series."""
    return tuple(family.name + suffix for suffix in SUFFIXES[family.kind])


def series() -> dict[str, Mapping[str, LabelValues]]:
    """Return the labels of every series, those of Python and the system included."""
    own: dict[str, Mapping[str, LabelValues]] = {
        name: family.labels for family in families().values() for name in series_of(family)
    }
    return own | dict(standard())


def standard() -> Iterator[tuple[str, Mapping[str, LabelValues]]]:
    """Return the series of Python and the system, as the management listener registers them."""
    registry = CollectorRegistry()
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    for metric in registry.collect():
        for sample in metric.samples:
            yield sample.name, dict.fromkeys(sample.labels, 100)
