"""The dashboards and alerts name what the three processes export, and the dashboards show all of it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import pytest

from common.metrics import LabelValues
from tests.support.observing.declared import OF_PROMETHEUS, families, series, series_of
from tests.support.observing.files import PROMETHEUS, expressions, panel_queries, records, rules
from tests.support.observing.promql import grouping, selectors

ANY = 100
# Made by Prometheus itself.
BUILT_IN: dict[str, Mapping[str, LabelValues]] = {
    "up": {},
    "ALERTS": {"alertname": ANY, "alertstate": ("pending", "firing"), "severity": ("page", "ticket")},
}
# Declared metrics on no panel, each with the reason.
ON_NO_PANEL: dict[str, str] = {}
KNOWN = series() | BUILT_IN


@pytest.mark.parametrize(("place", "text"), expressions())
def test_names(place: str, text: str) -> None:
    """Every series that an expression selects is declared, and so are the labels and values that it names."""
    found = [each for each in selectors(text) if each.name not in records()]

    assert [each.name for each in found if each.name not in KNOWN] == []
    labels = set(itertools.chain.from_iterable(KNOWN[each.name] for each in found)) | OF_PROMETHEUS
    assert grouping(text) <= labels, place
    for each in found:
        for label, values in each.labels:
            declared = KNOWN[each.name].get(label, ANY if label in OF_PROMETHEUS else ())
            assert isinstance(declared, int) or (declared and set(values) <= set(declared)), f"{each.name}: {label}"


def test_every_metric_is_shown() -> None:
    """Each declared metric is on a panel, directly or in a recorded series, or on the list above with a reason."""
    shown = {each.name for query in panel_queries() if query.kind == PROMETHEUS for each in selectors(query.text)}
    shown |= {each.name for rule in rules() if rule.get("record") in shown for each in selectors(rule["expr"])}
    hidden = [name for name, each in families().items() if not shown & set(series_of(each))]

    assert sorted(hidden) == sorted(ON_NO_PANEL)
