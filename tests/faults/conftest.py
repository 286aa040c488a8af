"""Fault tests run with one seed and a small load in `make test`, and with many seeds in `make test-faults`.

FAULT_SEEDS sets the seeds, as in `0-9` or `7`. Without it the seed is 0, and tests marked `thorough` are skipped.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.faults.results import IS_QUICK, SEEDS
from tests.support.processes.server_stack import ServerStack, running_stack

FOLDER = Path(__file__).parent


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrize tests that have a seed."""
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", SEEDS)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests that take long, unless FAULT_SEEDS is set."""
    for item in items:
        if item.get_closest_marker("thorough") and IS_QUICK:
            item.add_marker(pytest.mark.skip(reason="make test-faults runs it"))


class Servers:
    """The servers of all runs: started for the first test that needs them, ended when a test of another folder follows.

    Until the end of `make test` they would use as much CPU as many tests.
    """

    def __init__(self) -> None:
        self._open = contextlib.ExitStack()
        self._stack: ServerStack | None = None

    def started(self, make_folder: Callable[[str], Path]) -> ServerStack:
        """Start them if they do not run."""
        if self._stack is None:
            self._stack = self._open.enter_context(running_stack(make_folder("stack")))
        return self._stack

    def end(self) -> None:
        """Stop them if they run."""
        self._stack = None
        self._open.close()


SERVERS = Servers()


@pytest.fixture(scope="session")
def started_servers() -> Iterator[Servers]:
    """Yield the servers of all runs, which have ended when pytest ends."""
    yield SERVERS
    SERVERS.end()


@pytest.fixture
def stack(started_servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> ServerStack:
    """Return Kafka, ClickHouse and the gateway, started."""
    if not sys.platform.startswith("linux"):
        pytest.skip("frozen processes are seen through /proc")
    return started_servers.started(tmp_path_factory.mktemp)


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(nextitem: pytest.Item | None) -> None:
    """End the servers after the last fault test of this process."""
    if nextitem is not None and not nextitem.path.is_relative_to(FOLDER):
        SERVERS.end()
