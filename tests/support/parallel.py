"""How `make test` divides the tests among several pytest processes, and what the run has cost.

Tests wait more than they compute: several processes on each core use the time in which one test waits for another.
"""

from __future__ import annotations

import functools
import os
import resource

import pytest
from xdist.scheduler import LoadScopeScheduling

from local.processes.ports import free_ports
from local.settings import ROOT

WORKERS_A_CORE = 2
# A worker has servers of its own.
WORKER_BYTES = 2 * 1024**3
# What lasts longest begins first, so that the short tests fill the end of the run.
ORDER = ("tests/faults", "tests/integration", "tests/simulation", "tests/properties", "tests/contract")
# Of these each test is scheduled alone; of the others each file.
ALONE = ORDER[:4]
# In the text of a file whose tests share a fixture; `shards` are databases on servers that are started for each file.
SHARED_FIXTURES = ('scope="module"', "shards")


class Scheduling(LoadScopeScheduling):  # type: ignore[misc]  # the library has no types
    """Gives a worker the next test, or the next file where tests are short or share a fixture."""

    def _split_scope(self, nodeid: str) -> str:
        return scope(nodeid)


def scheduling(config: pytest.Config, log: object) -> Scheduling:
    """Return the scheduler, which keeps the order of the collection."""
    config.option.loadscopereorder = False
    return Scheduling(config, log)


def workers() -> int:
    """Return the number of workers that this machine's cores and memory allow."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(1, min(WORKERS_A_CORE * (os.cpu_count() or 1), memory // WORKER_BYTES))


def divide_ports() -> None:
    """Let a worker search for free ports where no other one does."""
    if worker := os.environ.get("PYTEST_XDIST_WORKER"):
        free_ports.use(int(worker.removeprefix("gw")), int(os.environ["PYTEST_XDIST_WORKER_COUNT"]))


def in_order(items: list[pytest.Item]) -> list[pytest.Item]:
    """Return the tests in the order in which they begin."""
    return sorted(items, key=lambda item: rank(scope(item.nodeid)))


def cost(seconds: float) -> str:
    """Return what a run of some seconds has cost: the CPU of every process that was waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu = sum(each.ru_utime + each.ru_stime for each in used)
    return f"{cpu:.0f} s of CPU in {seconds:.0f} s: {cpu / seconds:.1f} of {os.cpu_count()} cores"


def scope(nodeid: str) -> str:
    """Return what is scheduled together with a test: its file, or only itself."""
    file = nodeid.partition("::")[0]
    return nodeid if nodeid.startswith(ALONE) and not shares_a_fixture(file) else file


def rank(scope: str) -> tuple[bool, int]:
    """Return the position of a file or a test in the run; files that must stay together begin first."""
    position = next((number for number, folder in enumerate(ORDER) if scope.startswith(folder)), len(ORDER))
    return "::" in scope or position > 2, position


@functools.cache
def shares_a_fixture(file: str) -> bool:
    """Return whether the tests of a file share a fixture that would be made again in each worker."""
    text = (ROOT / file).read_text(encoding="utf-8")
    return any(mark in text for mark in SHARED_FIXTURES)
