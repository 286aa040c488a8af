"""The dashboards: regenerated equals committed, every panel has its place, and every expression parses."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from deploy.grafana.dashboards import dashboards
from tests.support.observing.files import DASHBOARDS, expressions, panels, records
from tests.support.observing.promql import parsed, selectors

COLUMNS = 24


def test_regenerated() -> None:
    """The committed dashboards are what the builder makes: `make dashboards` was run."""
    assert {path.name: path.read_text(encoding="utf-8") for path in DASHBOARDS.iterdir()} == dashboards()


@pytest.mark.parametrize("path", sorted(DASHBOARDS.iterdir()), ids=lambda path: path.stem)
def test_layout(path: Path) -> None:
    """Each panel has its own number, title and place, and an explanation."""
    found = panels(path)
    places = [
        (x, y)
        for panel in found
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    explained = [panel["title"] for panel in found if panel["type"] == "row" or panel["description"].endswith(".")]

    assert len({panel["id"] for panel in found}) == len({panel["title"] for panel in found}) == len(found)
    assert len(set(places)) == len(places)
    assert max(x for x, _ in places) < COLUMNS
    assert explained == [panel["title"] for panel in found]


def test_expressions_parse() -> None:
    """Each expression of a panel or a rule is valid PromQL."""
    for _, text in expressions():
        parsed(text)


def test_every_record_is_used() -> None:
    """Each recorded series is read by a panel or an alert, and its name has the form level:metric:operation."""
    used = {each.name for _, text in expressions() for each in selectors(text)}

    assert records() - used == set()
    assert [name for name in records() if not re.fullmatch(r"ugc:\w+:\w+", name)] == []
