"""The chart gives every process the time that its own limits add up to, also when a setting changes them."""

from __future__ import annotations

from pathlib import Path

import pytest

import gateway.__main__
import services.ingest.__main__
from common.tracing import END_SECONDS_MAX
from common.workers import supervisor
from common.workers.process import MARGIN_SECONDS, Workers
from deploy.helm.processes import PROCESSES
from etl.loader import STOP_SECONDS_MAX
from etl.settings import EtlSettings
from gateway.settings import GatewaySettings
from services.ingest.settings import IngestSettings
from tests.support.charts.manifests import RELEASES, Manifest, container, manifests, pods, rendered, values_file


def grace(pod: Manifest) -> float:
    """Return the seconds between SIGTERM and SIGKILL: those of preStop are taken from the pod's grace."""
    sleep = container(pod).get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    return float(pod["terminationGracePeriodSeconds"] - sleep)


def stop_seconds_of_workers(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Return after which time the parents of several workers kill a worker that does not end, by process."""
    given: dict[str, float] = {}

    def note(workers: Workers) -> int:
        given[workers.server.removeprefix("UGC_").lower()] = workers.stop_seconds_max
        return 0

    monkeypatch.setattr(supervisor, "run_workers", note)
    services.ingest.__main__.run_several(IngestSettings())
    gateway.__main__.run_several(GatewaySettings())
    return {process: seconds + MARGIN_SECONDS for process, seconds in given.items()}


@pytest.mark.parametrize("name", RELEASES)
def test_no_process_is_killed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each process may use all of its limits, traces included, before Kubernetes kills it."""
    found = pods(manifests(name))
    of_etl = STOP_SECONDS_MAX + EtlSettings().etl_kafka_seconds_max
    needed = {**stop_seconds_of_workers(monkeypatch), "etl": of_etl}

    assert set(needed) == {"ingest", "gateway", "etl"}
    for process, seconds in needed.items():
        assert grace(found[process]) >= seconds + END_SECONDS_MAX, process


@pytest.mark.parametrize("process", ["ingest", "gateway"])
def test_endpoints_learn_of_the_end(process: str) -> None:
    """A pod still serves for some seconds, while balancers and clients remove its address."""
    assert container(pods(manifests("minimal"))[process])["lifecycle"]["preStop"]["sleep"]["seconds"] >= 5


@pytest.mark.parametrize(
    ("process", "variable", "seconds"),
    [
        (process, variable, 42)
        for process in ("ingest", "gateway", "etl")
        for variable in (f"UGC_{name.upper()}" for name in PROCESSES[process].stop_settings)
    ],
)
def test_grace_follows_settings(process: str, variable: str, seconds: int, tmp_path: Path) -> None:
    """A longer limit makes the grace longer by the same time."""
    before = pods(manifests("minimal"))[process]["terminationGracePeriodSeconds"]
    default = PROCESSES[process].settings.model_fields[variable.removeprefix("UGC_").lower()].default
    after = pods(rendered(values_file(tmp_path, {"settings": {variable: seconds}})))[process]

    assert after["terminationGracePeriodSeconds"] - before == pytest.approx(seconds - default, abs=1)
    assert grace(after) >= seconds
