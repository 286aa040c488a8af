"""A real Prometheus, as Debian packages it, that scrapes processes each second and evaluates rules."""

from __future__ import annotations

import json
import math
import re
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from common.settings import Address
from local.processes.ports import free_port
from local.processes.program import Program
from tests.support.observing.promql import RATE_INTERVAL
from tests.support.processes.system import get

READY_SECONDS_MAX = 60.0
# A window of several scrapes, in place of Grafana's.
WINDOW = "10s"
# By how much the windows and the thresholds of the committed rules are divided.
SHORTER, LOWER = 60, 10
DURATION = re.compile(r"\b(\d+)([smhdw])\b")
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
# A comparison of seconds with a threshold.
THRESHOLD = re.compile(r"([<>]) (60|120|900|3600)$", re.MULTILINE)
SHORT_ALERT, SHORT_RECORD = "Short", "short:"


@dataclass(frozen=True)
class Sample:
    """A series of an answer with its value."""

    labels: Mapping[str, str]
    value: float


class Prometheus:
    """Asks a running Prometheus by its API."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/api/v1"

    def query(self, text: str) -> list[Sample]:
        """Return the samples of an expression of a panel now."""
        answer = self._ask("query", {"query": text.replace(RATE_INTERVAL, WINDOW)})
        return [Sample(each["metric"], float(each["value"][1])) for each in answer["result"]]

    def largest(self, text: str) -> float:
        """Return the largest value of an expression; minus infinity without one."""
        return max((each.value for each in self.query(text) if not math.isnan(each.value)), default=-math.inf)

    def alerts(self, state: str) -> set[str]:
        """Return the names of the alerts in a state."""
        return {each["labels"]["alertname"] for each in self._ask("alerts", {})["alerts"] if each["state"] == state}

    def health(self) -> dict[str, str]:
        """Return the health of each rule: `ok`, `err`, or `unknown` before its first evaluation."""
        rules = [rule for group in self._ask("rules", {})["groups"] for rule in group["rules"]]
        return {rule["name"]: rule["health"] for rule in rules}

    def _ask(self, what: str, parameters: Mapping[str, str]) -> Any:
        status, body = get(f"{self._url}/{what}?{urllib.parse.urlencode(parameters)}")
        answer = json.loads(body)
        assert status == 200, answer
        return answer["data"]


def prometheus_program(folder: Path, port: int, targets: Mapping[str, str], rules: Sequence[Path]) -> Program:
    """Return a Prometheus that scrapes targets, by the names of their jobs."""

    def prepare() -> None:
        folder.mkdir(exist_ok=True)
        configuration = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(path) for path in rules],
            "scrape_configs": [
                {"job_name": job, "static_configs": [{"targets": [target]}]} for job, target in targets.items()
            ],
        }
        (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))

    return Program(
        name="prometheus",
        argv=(
            "prometheus",
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ),
        log=folder / "prometheus.log",
        listens={"prometheus": Address("127.0.0.1", port)},
        prepare=prepare,
        ready=lambda: get(f"http://127.0.0.1:{port}/-/ready")[0] == 200,
        ready_seconds_max=READY_SECONDS_MAX,
    )


def started_prometheus(folder: Path, targets: Mapping[str, str], rules: Sequence[Path]) -> tuple[Program, Prometheus]:
    """Return the program on a free port, and its API."""
    port = free_port()
    return prometheus_program(folder, port, targets, rules), Prometheus(port)


def shortened(rules: str) -> str:
    """Return rules under other names with windows and waits of a sixtieth, and thresholds in seconds of a tenth."""
    document = yaml.safe_load(rules.replace("ugc:", SHORT_RECORD))
    for group in document["groups"]:
        group["name"] = f"short-{group['name']}"
        group.pop("interval", None)
        for rule in group["rules"]:
            rule["expr"] = DURATION.sub(shorter, THRESHOLD.sub(lower, rule["expr"]))
            if "alert" in rule:
                rule["alert"] = SHORT_ALERT + rule["alert"]
            if "for" in rule:
                rule["for"] = DURATION.sub(shorter, rule["for"])
    return yaml.safe_dump(document)


def shorter(match: re.Match[str]) -> str:
    return f"{max(1, int(match[1]) * SECONDS[match[2]] // SHORTER)}s"


def lower(match: re.Match[str]) -> str:
    return f"{match[1]} {int(match[2]) // LOWER}"
