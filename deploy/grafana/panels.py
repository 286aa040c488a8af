"""The kinds of panels that the dashboards have, and their queries to Prometheus and ClickHouse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import TypeAlias

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.cog import builder, variants
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.common import LegendDisplayMode, LegendPlacement, StackingMode, TooltipDisplayMode
from grafana_foundation_sdk.models.dashboard import Threshold, ThresholdsMode

Panel: TypeAlias = timeseries.Panel | stat.Panel | table.Panel
# Variables of every dashboard, so that it works with data sources of any name.
PROMETHEUS = models.DataSourceRef(type_val="prometheus", uid="${prometheus}")
CLICKHOUSE = models.DataSourceRef(type_val="grafana-clickhouse-datasource", uid="${clickhouse}")
# The version of the data source's plug-in that the form of the queries is of.
CLICKHOUSE_PLUGIN = "4.20.0"
# Of 24 columns; a row has three graphs, or six numbers.
GRAPH_SPAN, GRAPH_HEIGHT = 8, 8
NUMBER_SPAN, NUMBER_HEIGHT = 4, 4
TIME_SERIES, TABLE = 0, 1


@dataclass(frozen=True)
class Query:
    """An expression of PromQL, and the name of each of its series."""

    expr: str
    legend: str = ""


class Sql(variants.Dataquery):
    """A query in the form that the ClickHouse data source has."""

    def __init__(self, text: str, form: int) -> None:
        self.text, self.form = text, form

    def to_json(self) -> dict[str, object]:
        """Return what is stored in the dashboard."""
        return {
            "datasource": CLICKHOUSE,
            "editorType": "sql",
            "format": self.form,
            "pluginVersion": CLICKHOUSE_PLUGIN,
            "queryType": "timeseries" if self.form == TIME_SERIES else "table",
            "rawSql": self.text,
            "refId": "A",
        }


class SqlBuilder(builder.Builder[variants.Dataquery]):
    """Passes a query to the builder of a panel."""

    def __init__(self, text: str, form: int) -> None:
        self._query = Sql(text, form)

    def build(self) -> variants.Dataquery:
        """Return the query."""
        return self._query


def graph(title: str, text: str, unit: str, *queries: Query, is_stacked: bool = False) -> Panel:
    """Return lines over time of expressions of PromQL; `text` explains what to look for."""
    panel = lines(title, text, unit, is_stacked=is_stacked).datasource(PROMETHEUS)
    for name, query in zip(ascii_uppercase, queries, strict=False):
        panel.with_target(target(name, query))
    return panel


def number(title: str, text: str, unit: str, query: Query, limits: Sequence[tuple[float, str]] = ()) -> Panel:
    """Return the current value of an expression; it has the color of the highest limit that it has reached."""
    panel = stat.Panel().title(title).description(text).unit(unit).datasource(PROMETHEUS)
    panel.span(NUMBER_SPAN).height(NUMBER_HEIGHT).thresholds(thresholds(limits)).no_value("none")
    return panel.with_target(target("A", query).instant())


def sql_graph(title: str, text: str, unit: str, query: str) -> Panel:
    """Return stacked lines over time from ClickHouse; the query returns a time, a name and a number."""
    panel = lines(title, text, unit, is_stacked=True).datasource(CLICKHOUSE)
    return panel.with_target(SqlBuilder(query, TIME_SERIES))


def sql_table(title: str, text: str, query: str) -> Panel:
    """Return a table from ClickHouse."""
    panel = table.Panel().title(title).description(text).datasource(CLICKHOUSE)
    panel.span(GRAPH_SPAN).height(GRAPH_HEIGHT).show_header(show_header=True)
    return panel.with_target(SqlBuilder(query, TABLE))


def quantiles(histogram: str, labels: str = "", legend: str = "") -> tuple[Query, Query]:
    """Return the median and the 99th percentile of a histogram, by labels."""
    by, name = ("le, " + labels, " " + legend) if labels else ("le", "")
    rate = f"sum by ({by}) (rate({histogram}_bucket[$__rate_interval]))"
    return (
        Query(f"histogram_quantile(0.5, {rate})", f"p50{name}"),
        Query(f"histogram_quantile(0.99, {rate})", f"p99{name}"),
    )


def rate(counter: str, labels: str, legend: str) -> Query:
    """Return how fast a counter grows a second, by labels."""
    return Query(f"sum by ({labels}) (rate({counter}[$__rate_interval]))", legend)


def used(gauge: str, legend: str) -> Query:
    """Return which share of its limit a gauge has, in each process; the limit's name ends with `_limit`."""
    return Query(f"{gauge} / {gauge}_limit", legend + " {{instance}}")


def lines(title: str, text: str, unit: str, *, is_stacked: bool) -> timeseries.Panel:
    """Return a graph without queries."""
    legend = common.VizLegendOptions().display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM)
    panel = timeseries.Panel().title(title).description(text).unit(unit).min(0).span(GRAPH_SPAN).height(GRAPH_HEIGHT)
    panel.legend(legend.show_legend(show_legend=True))
    panel.tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
    if is_stacked:
        panel.fill_opacity(30).stacking(common.StackingConfig().mode(StackingMode.NORMAL))
    return panel


def target(name: str, query: Query) -> prometheus.Dataquery:
    """Return a query in Grafana's form."""
    found = prometheus.Dataquery().ref_id(name).datasource(PROMETHEUS).expr(query.expr)
    return found.legend_format(query.legend) if query.legend else found


def thresholds(limits: Sequence[tuple[float, str]]) -> dashboard.ThresholdsConfig:
    """Return green, and the color of each limit from its value on."""
    steps = [Threshold(None, "green"), *(Threshold(value, color) for value, color in limits)]
    return dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)
