"""Fault tests run once with one seed in `make test`, each with many by `make test-faults`.

FAULT_SEEDS names the seeds, as in `0-9` or `7`; without it a test has one, and tests marked `thorough` are skipped.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from tests.support.faults.results import IS_QUICK, SEEDS
from tests.support.processes.server_stack import ServerStack, running_stack


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give a test that takes a seed its seeds."""
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", SEEDS)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave what takes long to `make test-faults`."""
    for item in items:
        if item.get_closest_marker("thorough") and IS_QUICK:
            item.add_marker(pytest.mark.skip(reason="make test-faults runs it"))


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerStack]:
    """Start Kafka, ClickHouse and the gateway for all runs."""
    if not sys.platform.startswith("linux"):
        pytest.skip("frozen processes are seen through /proc")
    with running_stack(tmp_path_factory.mktemp("stack")) as stack:
        yield stack
