"""One cluster for all scenarios, which only `make test-cluster` starts; README.md describes it."""

from __future__ import annotations

import os
import platform
import signal
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from types import FrameType

import pytest

from tests.support.cluster.cluster import Cluster, running_cluster
from tests.support.cluster.scenario import Scenario, scenario
from tests.support.cluster.watch import Watch, watching

FOLDER = Path(__file__).parent
CHOSEN = "UGC_TEST_CLUSTER"
HERE = sys.platform.startswith("linux") and platform.machine().lower() in ("x86_64", "amd64")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the scenarios in every other run of the tests, and where ClickHouse's library cannot replicate."""
    reason = "" if os.environ.get(CHOSEN) else "make test-cluster runs it"
    reason = reason or ("" if HERE else "replication in ClickHouse's library is known for Linux on x86-64 only")
    for item in items:
        if reason and item.path.is_relative_to(FOLDER) and "cluster" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Start the cluster; it is stopped when pytest ends, also by SIGTERM."""
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        with running_cluster() as started:
            yield started
    finally:
        signal.signal(signal.SIGTERM, before)


def interrupt(_number: int, _frame: FrameType | None) -> None:
    """End pytest as Ctrl-C does."""
    raise KeyboardInterrupt


@pytest.fixture(scope="session")
def watch(cluster: Cluster) -> Iterator[Watch]:
    """Watch which rows are late."""
    with watching(cluster) as started:
        yield started


class Scenarios:
    """Starts scenarios on the cluster."""

    def __init__(self, cluster: Cluster, watch: Watch) -> None:
        self._cluster = cluster
        self._watch = watch

    def run(self, name: str) -> AbstractContextManager[Scenario]:
        """Run a scenario: see tests/support/cluster/scenario.py."""
        return scenario(self._cluster, self._watch, name)


@pytest.fixture
def scenarios(cluster: Cluster, watch: Watch) -> Scenarios:
    """Return what starts a scenario."""
    return Scenarios(cluster, watch)
