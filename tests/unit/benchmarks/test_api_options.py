"""The clones that the benchmark of the APIs compares."""

from __future__ import annotations

from pathlib import Path

from local.settings import ROOT
from tests.benchmarks.api import labels
from tests.support.benchmarks.report import THIS_PROJECT
from tests.support.benchmarks.systems import topic_of


def test_names_of_clones(tmp_path: Path) -> None:
    """Clones are named by folder and settings, each by another name; one alone is the project."""
    before = tmp_path / "before"

    assert list(labels([str(ROOT)])) == [THIS_PROJECT]
    found = labels([str(before), str(before), f"{before},UGC_GATEWAY_WORKERS=2,UGC_INGEST_RELAY=false"])
    assert list(found) == ["before", "before 1", "before UGC_GATEWAY_WORKERS=2 UGC_INGEST_RELAY=false"]
    assert {clone.root for clone in found.values()} == {before}
    assert [dict(clone.settings) for clone in found.values()] == [
        {},
        {},
        {"UGC_GATEWAY_WORKERS": "2", "UGC_INGEST_RELAY": "false"},
    ]
    assert topic_of("a UGC_X=2") == "events-a-UGC_X-2"
