"""The dashboards, each from its sections."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    VariableHide,
    VariableRefresh,
)

from deploy.grafana import data, promise, saturation
from deploy.grafana.panels import CLICKHOUSE, Panel

TAG = "ugc-events"


def dashboards() -> dict[str, str]:
    """Return the JSON of each dashboard, by the name of its file."""
    built = {
        "promise": dashboard_of("promise", "UGC: Promise", promise.TEXT, promise.sections()),
        "saturation": dashboard_of("saturation", "UGC: Saturation", saturation.TEXT, saturation.sections()),
        "data": dashboard_of("data", "UGC: Data", data.TEXT, data.sections()),
    }
    for name, variable in (("events", data.EVENTS), ("rejected", data.REJECTED)):
        built["data"].with_variable(table_variable(name, variable))
    return {f"{name}.json": text(each) for name, each in built.items()}


def dashboard_of(name: str, title: str, about: str, sections: Mapping[str, Sequence[Panel]]) -> dashboard.Dashboard:
    """Return a dashboard with a row for each section."""
    board = dashboard.Dashboard(title).uid(f"ugc-{name}").description(about).tags([TAG]).timezone("browser")
    board.refresh("10s").time("now-30m", "now").tooltip(DashboardCursorSync.CROSSHAIR)
    links = dashboard.DashboardLink("ugc-events").type(DashboardLinkType.DASHBOARDS).tags([TAG])
    board.link(links.include_vars(include_vars=True).keep_time(keep_time=True))
    board.with_variable(dashboard.DatasourceVariable("prometheus").label("Prometheus").type("prometheus"))
    if any(each.build().datasource == CLICKHOUSE for panels in sections.values() for each in panels):
        kind = str(CLICKHOUSE.type_val)
        board.with_variable(dashboard.DatasourceVariable("clickhouse").label("ClickHouse").type(kind))
    numbers = itertools.count(1)
    for section, panels in sections.items():
        board.with_row(dashboard.Row(section).id(next(numbers)))
        for each in panels:
            board.with_panel(each.id(next(numbers)))
    return board


def table_variable(name: str, query: str) -> dashboard.QueryVariable:
    """Return a hidden variable whose value is the name of a table."""
    variable = dashboard.QueryVariable(name).datasource(CLICKHOUSE).query(query)
    return variable.refresh(VariableRefresh.ON_DASHBOARD_LOAD).hide(VariableHide.HIDE_VARIABLE)


def text(board: dashboard.Dashboard) -> str:
    """Return a dashboard's JSON as it is committed."""
    return JSONEncoder(sort_keys=True, indent=2).encode(board.build()) + "\n"
