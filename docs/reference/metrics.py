"""The reference page of the metrics, from their declarations."""

from __future__ import annotations

from common.metrics import Counter, Gauge, Histogram, LabelValues, Metrics
from etl.metrics import EtlMetrics
from gateway.metrics import GatewayMetrics
from services.ingest.metrics import IngestMetrics

INTRODUCTION = """\
# Metrics

This page lists the metrics of every process, which its management listener serves at `/metrics`. Times are in seconds,
sizes in bytes. Every label has a limited number of values: those listed, or a number of different ones, beyond which
further values are counted as `other`. Each process also has the standard metrics `process_*`, `python_gc_*` and
`python_info`.
"""
PROCESSES: dict[str, type[Metrics]] = {
    "ugc-ingest": IngestMetrics,
    "ugc-gateway": GatewayMetrics,
    "ugc-etl": EtlMetrics,
}
SHARED = "Shared by several processes"
Family = Counter | Gauge | Histogram


def page() -> str:
    """Return the page: the metrics that several processes have, then those of each process alone."""
    families: dict[str, Family] = {}
    processes: dict[str, list[str]] = {}
    for process, kind in PROCESSES.items():
        for family in kind().families:
            families[family.name] = family
            processes.setdefault(family.name, []).append(process)
    sections: dict[str, list[Family]] = {SHARED: [], **{process: [] for process in PROCESSES}}
    for name, family in families.items():
        sections[SHARED if len(processes[name]) > 1 else processes[name][0]].append(family)
    parts = [section(title, found, processes) for title, found in sections.items() if found]
    return "\n".join([INTRODUCTION, *parts])


def section(title: str, found: list[Family], processes: dict[str, list[str]]) -> str:
    """Return a heading and the table of its metrics."""
    is_shared = title == SHARED
    rows = [
        "| metric | type | labels | meaning |" + (" processes |" if is_shared else ""),
        "|---|---|---|---|" + ("---|" if is_shared else ""),
    ]
    for family in sorted(found, key=lambda each: each.name):
        name = f"{family.name}_total" if family.kind == "counter" else family.name
        labels = "; ".join(f"`{label}`: {values(allowed)}" for label, allowed in family.labels.items())
        row = f"| `{name}` | {family.kind} | {labels} | {family.help} |"
        rows.append(row + (f" {', '.join(processes[family.name])} |" if is_shared else ""))
    return f"\n## {title}\n\n" + "\n".join(rows) + "\n"


def values(allowed: LabelValues) -> str:
    """Return which values a label can have."""
    return f"at most {allowed:,}" if isinstance(allowed, int) else ", ".join(allowed)
