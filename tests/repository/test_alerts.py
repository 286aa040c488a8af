"""Each alert is explained in the runbook and tested for firing and for silence; promtool accepts rules and metrics."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from local.settings import ROOT
from tests.repository.test_documents import anchors
from tests.support.observing.declared import PROCESSES
from tests.support.observing.files import RULE_TESTS, RULES_FILE, alerts
from tests.support.observing.promql import selectors

SECONDS_MAX = 300
SEVERITIES = {"page", "ticket"}
TESTS: list[dict[str, Any]] = [
    test for path in RULE_TESTS for test in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]
]


def promtool(*arguments: str, text: str | None = None) -> str:
    """Run promtool, which must succeed; skip where it is not installed."""
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed: it is in Debian's package prometheus")
    done = subprocess.run(
        ["promtool", *arguments], input=text, capture_output=True, text=True, check=False, timeout=SECONDS_MAX
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def cases(name: str, *, is_firing: bool) -> list[dict[str, Any]]:
    """Return the tests that expect an alert to fire, or to be silent."""
    return [
        test
        for test in TESTS
        for case in test.get("alert_rule_test", ())
        if case["alertname"] == name and bool(case["exp_alerts"]) == is_firing
    ]


def test_rules() -> None:
    """Promtool finds nothing to object to in the rules."""
    assert "SUCCESS" in promtool("check", "rules", "--lint=all", str(RULES_FILE))


@pytest.mark.parametrize("path", RULE_TESTS, ids=lambda path: path.stem)
def test_rule_tests(path: Path) -> None:
    """Each alert fires and is silent as its tests expect."""
    promtool("test", "rules", str(path))


def test_configuration() -> None:
    """Prometheus accepts the configuration of compose, and the rules that it names."""
    promtool("check", "config", str(RULES_FILE.with_name("prometheus.yml")))


@pytest.mark.parametrize("process", PROCESSES)
def test_metrics(process: str) -> None:
    """Names, types and help texts of a process's metrics follow the conventions of Prometheus."""
    registry = CollectorRegistry()
    registry.register(PROCESSES[process]())

    promtool("check", "metrics", text=generate_latest(registry).decode())


@pytest.mark.parametrize("name", alerts())
def test_alert_is_tested(name: str) -> None:
    """Each alert has a test in which it fires, and one in which it is silent although its series exist."""
    assert cases(name, is_firing=True)
    series = {each.name for each in selectors(alerts()[name]["expr"]) if ":" not in each.name}
    silent = [
        {each["series"].partition("{")[0] for each in test["input_series"]} for test in cases(name, is_firing=False)
    ]

    assert any(given & series or not series for given in silent)


@pytest.mark.parametrize("name", alerts())
def test_alert_is_explained(name: str) -> None:
    """Each alert has a severity, a summary, a description, and a section of the runbook that names it."""
    alert = alerts()[name]
    page, _, anchor = alert["annotations"]["runbook_url"].partition("#")
    section = section_of(ROOT / page, anchor)

    assert alert["labels"]["severity"] in SEVERITIES
    assert alert["annotations"].keys() == {"summary", "description", "runbook_url"}
    assert anchor in anchors(ROOT / page)
    assert f"`{name}`" in section.partition("\n\n")[2].partition("\n\n")[0]


def section_of(page: Path, anchor: str) -> str:
    """Return the text of a page from the heading with an anchor until the next one."""
    sections = page.read_text(encoding="utf-8").split("\n### ")
    titles = [each.partition("\n")[0] for each in sections]
    matching = [each for each, title in zip(sections, titles, strict=True) if title.lower().replace(" ", "-") == anchor]
    return matching[0] if matching else ""
