"""The page of the costs and its chart, from results that are kept."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree as ET

import pytest

from local.settings import ROOT
from tests.support.benchmarks import report
from tests.support.benchmarks.keep import keep
from tests.support.benchmarks.machine import this_machine
from tests.support.benchmarks.report import KEPT, THIS_PROJECT, Comparison, Figure, Report
from tests.support.benchmarks.tables import number

COMPARISONS = (
    Comparison("REST: CPU", THIS_PROJECT, "us a call", 50.0, "the peer", 200.0, 0.4),
    Comparison("Loading: rate", THIS_PROJECT, "events/s", 150.0, "the peer", 100.0, 2.6, higher=True),
    Comparison("JSON", "the fast reader", "us", 1.0, "another", 10.0),
)
FIGURES = (
    Figure("rest", THIS_PROJECT, "CPU", "us a call", (40.0, 60.0, 50.0), {"gateway": 20.0, "ingest": 30.0}),
    Figure("rest", THIS_PROJECT, "rate", "events/s", (900.0, 1_100.0, 1_000.0)),
    Figure("rest", "peer", "CPU", "us a call", (200.0,), {"peer": 200.0}, {"peer": {"main": 190.0, "idle": 1.0}}),
)


@pytest.fixture
def docs(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, ModuleType]]:
    """Import the programs of docs/, which is not a package."""
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    yield {name: importlib.import_module(f"reference.{name}") for name in ("costs", "chart")}
    for name in [name for name in sys.modules if name.partition(".")[0] == "reference"]:
        del sys.modules[name]


@pytest.fixture
def reports(docs: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch) -> list[Report]:
    """Return the reports that the page shows in the place of those that are kept."""
    found: list[Report] = []
    for module in docs.values():
        monkeypatch.setattr(module, "kept", lambda: found)
    return found


def drawing(docs: dict[str, ModuleType]) -> ET.Element:
    return ET.fromstring(docs["chart"].chart())  # noqa: S314 -- the project's own text


def made(benchmark: str, comparisons: tuple[Comparison, ...] = COMPARISONS) -> Report:
    titles = {"rest": "REST, one event", "peer": "The peer"}
    return Report(benchmark, this_machine(), {"rounds": "3"}, "2026-01-02", 9.0, FIGURES, comparisons, titles)


def test_page(docs: dict[str, ModuleType], reports: list[Report]) -> None:
    """The page has a line for each aim, for each row and system, and for the threads of a process."""
    reports.append(made("api"))
    lines = docs["costs"].page().splitlines()

    assert "| REST: CPU | 50 us a call | the peer: 200 | **0.25** | at most 0.4 | met |" in lines
    assert "| Loading: rate | 150 events/s | the peer: 100 | **1.50** | at least 2.6 | not met |" in lines
    assert "|  | system | CPU, us a call | rate, events/s | of it |" in lines
    assert "| REST, one event | this project | 50 | 1,000 | gateway 20; ingest 30 |" in lines
    assert "| REST, one event | The peer | 200 |  | peer 200 |" in lines
    assert "| REST, one event | The peer | peer | main 190 |" in lines
    assert "| JSON | the fast reader: 1 us | another: 10 | **0.10** |  |  |" in lines
    assert any("2026-01-02" in line and f"`{this_machine().commit}`" in line for line in lines)


def test_tables(docs: dict[str, ModuleType], reports: list[Report]) -> None:
    """All lines of a table have as many cells as its head, with and without a column for parts."""
    reports.append(made("api"))
    reports.append(made("other", ()))
    reports.append(Report("plain", this_machine(), {}, "2026-01-02", 9.0, (FIGURES[1],)))
    for table in re.findall(r"(?:^\|.*\n)+", docs["costs"].page(), re.MULTILINE):
        lines = table.splitlines()

        assert len(lines) >= 3
        assert {line.count("|") for line in lines} == {lines[0].count("|")}
        assert re.fullmatch(r"\|(---\|)+", lines[1])


def test_without_results(docs: dict[str, ModuleType], reports: list[Report]) -> None:
    """Without results the page is there, and has no empty table."""
    assert reports == []
    assert "No results are kept yet." in docs["costs"].page()
    assert "|" not in docs["costs"].page()
    assert drawing(docs).tag.endswith("svg")


def test_chart(docs: dict[str, ModuleType], reports: list[Report]) -> None:
    """The chart has a bar for each aim, from the peer's line to the ratio, green when the aim is met."""
    reports.append(made("api"))
    drawn = drawing(docs)
    bars = list(drawn.iter("{http://www.w3.org/2000/svg}rect"))[1:]
    aims = [each for each in drawn.iter("{http://www.w3.org/2000/svg}line") if each.get("stroke-width") == "3"]
    (one,) = [each for each in drawn.iter("{http://www.w3.org/2000/svg}text") if each.text == "1"]
    peer = float(str(one.get("x")))

    assert [each.get("fill") for each in bars] == [docs["chart"].MET, docs["chart"].NOT_MET]
    below, above = bars
    assert float(str(below.get("x"))) + float(str(below.get("width"))) == pytest.approx(peer, abs=0.2)
    assert float(str(above.get("x"))) == pytest.approx(peer, abs=0.2)
    assert float(str(below.get("x"))) < float(str(aims[0].get("x1"))) < peer < float(str(aims[1].get("x1")))


def test_order(docs: dict[str, ModuleType], tmp_path: Path) -> None:
    """The reports stand in the order of the page's titles, and others after them."""
    for name in ("zebra", "tokens", "api"):
        made(name).write(tmp_path)

    assert [each.benchmark for each in docs["costs"].kept(tmp_path)] == ["api", "tokens", "zebra"]


def test_keep(tmp_path: Path) -> None:
    """Only the benchmarks that are named are kept; one that has no results is an error."""
    results, kept = tmp_path / "results", tmp_path / "kept"
    for name in ("one", "two"):
        made(name).write(results)
    keep(["one"], results, kept)

    assert [path.name for path in kept.iterdir()] == ["one.json"]
    assert report.read(kept / "one.json").benchmark == "one"
    with pytest.raises(FileNotFoundError):
        keep(["three"], results, kept)


def test_results_that_are_kept() -> None:
    """Each file of results is of a benchmark that exists, and under its name."""
    programs = {path.stem for path in KEPT.parent.glob("*.py")}

    assert {path.stem: report.read(path).benchmark for path in KEPT.glob("*.json") if path.stem in programs} == {
        path.stem: path.stem for path in KEPT.glob("*.json")
    }


def test_numbers() -> None:
    """Numbers have about three digits."""
    assert [number(value) for value in (1234.5, 99.96, 12.345, 0.04567, 0.0)] == ["1,234", "100", "12.3", "0.0457", "0"]
