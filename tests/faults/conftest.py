"""Fault tests run with one seed and a small load in `make test`, and with many seeds in `make test-faults`.

FAULT_SEEDS sets the seeds, as in `0-9` or `7`. Without it the seed is 0, and tests marked `thorough` are skipped.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from tests.support.faults.results import IS_QUICK, SEEDS
from tests.support.processes.server_stack import ServerStack, running_stack


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrize tests that have a seed."""
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", SEEDS)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests that take long, unless FAULT_SEEDS is set."""
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
