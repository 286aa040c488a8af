"""The committed dashboards and alert rules, read as Grafana and Prometheus read them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from local.settings import ROOT

RULES_FILE = ROOT / "deploy" / "prometheus" / "rules.yml"
RULE_TESTS = sorted((ROOT / "deploy" / "prometheus" / "tests").glob("*.yml"))
DASHBOARDS = ROOT / "deploy" / "grafana" / "dashboards"
PROMETHEUS, CLICKHOUSE = "prometheus", "grafana-clickhouse-datasource"


@dataclass(frozen=True)
class PanelQuery:
    """A query of a panel: in PromQL, or in SQL with macros of the data source."""

    dashboard: str
    panel: str
    kind: str
    text: str

    @property
    def place(self) -> str:
        return f"{self.dashboard}: {self.panel}"


def panels(path: Path) -> list[dict[str, Any]]:
    """Return the panels of a dashboard, rows included."""
    found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["panels"]
    return found


def panel_queries() -> list[PanelQuery]:
    """Return every query of every dashboard."""
    return [query for path in sorted(DASHBOARDS.glob("*.json")) for query in queries_of(path)]


def queries_of(path: Path) -> Iterator[PanelQuery]:
    for panel in panels(path):
        for target in panel.get("targets", ()):
            kind = target["datasource"]["type"]
            text = target["expr"] if kind == PROMETHEUS else target["rawSql"]
            yield PanelQuery(path.stem, panel["title"], kind, text)


def rules() -> list[dict[str, Any]]:
    """Return the recording rules and the alerts of all groups."""
    groups = yaml.safe_load(RULES_FILE.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def alerts() -> dict[str, dict[str, Any]]:
    """Return the alerts by name."""
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def expressions() -> list[tuple[str, str]]:
    """Return every expression of PromQL of a panel or a rule, with its place."""
    shown = [(query.place, query.text) for query in panel_queries() if query.kind == PROMETHEUS]
    return shown + [(rule.get("alert") or rule["record"], rule["expr"]) for rule in rules()]


def records() -> set[str]:
    """Return the names of the series that rules record."""
    return {rule["record"] for rule in rules() if "record" in rule}
