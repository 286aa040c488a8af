"""A member of the etl's group is killed or frozen at each step of a batch, under load; others take over its partitions.

A frozen member is a zombie: it continues after its session has ended, when other members own its partitions.
"""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from local.processes.program import Child
from tests.support.faults.processes import LOAD_PER_SECOND
from tests.support.faults.run import Run, faulty
from tests.support.processes.server_stack import GROUP_SESSION_SECONDS, ServerStack

# The failpoint, and the largest count at which the fault happens.
POINTS = {
    "before-plan": 3,
    "after-plan": 3,
    "before-data": 6,
    "mid-block": 6,
    "after-data": 6,
    "next-prepared": 3,
    "after-acknowledgement": 6,
    "after-commit": 3,
}
# The commit without a plan needs an idle partition: this load is slow enough for that.
PER_SECOND = {"after-commit": 300.0}
# A batch is prepared only if it is due while another one is inserted: these inserts run without a pause.
SETTINGS = {"next-prepared": {"UGC_ETL_FLUSH_SECONDS": "0.02", "UGC_ETL_FLUSH_ROWS": "50"}}
# These leave a plan whose batch is stored as a whole or not at all.
UNFINISHED = ("after-plan", "before-data", "mid-block", "after-data", "after-acknowledgement")
# One run in so many freezes for less than the session.
SHORT_EVERY = 4
SHORT_SECONDS = 0.5
ZOMBIE_SECONDS = GROUP_SESSION_SECONDS + 2
# The failpoints of `make test`; the others are similar.
QUICK = {"after-plan", "mid-block", "after-data", "next-prepared", "after-acknowledgement"}
ALL_POINTS = [point if point in QUICK else pytest.param(point, marks=pytest.mark.thorough) for point in POINTS]


@pytest.mark.parametrize("point", ALL_POINTS)
def test_killed(stack: ServerStack, tmp_path: Path, point: str, seed: int) -> None:
    """Kill -9 at a failpoint; a new process, and in every other run another member, continues."""
    with faulty(stack, tmp_path, f"etl killed {point}", seed, SETTINGS.get(point)) as run:
        victim = run.etl(f"{point}:kill@{run.chance.randint(1, POINTS[point])}")
        if seed % 2:
            run.etl()
        run.load(per_second=PER_SECOND.get(point, LOAD_PER_SECOND))
        run.await_killed(victim)
        run.etl()


@pytest.mark.parametrize("point", ALL_POINTS)
def test_frozen(stack: ServerStack, tmp_path: Path, point: str, seed: int) -> None:
    """SIGSTOP at a failpoint, SIGCONT when another member has taken over."""
    with faulty(stack, tmp_path, f"etl frozen {point}", seed, SETTINGS.get(point)) as run:
        victim = run.etl(f"{point}:stop@{run.chance.randint(1, POINTS[point])}")
        run.etl()
        run.load(per_second=PER_SECOND.get(point, LOAD_PER_SECOND))
        run.await_stopped(victim)
        thaw_later(run, victim)


def test_killed_in_recovery(stack: ServerStack, tmp_path: Path, seed: int) -> None:
    """A member is killed in a batch, and its successor while it recovers the batch; a third member recovers it."""
    with faulty(stack, tmp_path, "etl killed in-recovery", seed) as run:
        first = run.etl(f"{run.chance.choice(UNFINISHED)}:kill@{run.chance.randint(1, 3)}")
        run.load()
        run.await_killed(first)
        run.await_killed(run.etl("in-recovery:kill@1"))
        run.etl()


def test_frozen_in_recovery(stack: ServerStack, tmp_path: Path, seed: int) -> None:
    """A member is killed in a batch; its successor is frozen while it recovers the batch, until a third has done so."""
    with faulty(stack, tmp_path, "etl frozen in-recovery", seed) as run:
        first = run.etl(f"{run.chance.choice(UNFINISHED)}:kill@{run.chance.randint(1, 3)}")
        run.load()
        run.await_killed(first)
        second = run.etl("in-recovery:stop@1")
        run.await_stopped(second)
        run.etl()
        thaw_later(run, second)


def test_killed_in_rebalance(stack: ServerStack, tmp_path: Path, seed: int) -> None:
    """Kill -9 inside the callback that assigns partitions (1), or that revokes them for another member (2)."""
    with faulty(stack, tmp_path, "etl killed in-rebalance", seed) as run:
        run.load()
        victim = rebalanced(run, f"in-rebalance:kill@{2 - seed % 2}")
        run.await_killed(victim)


@pytest.mark.thorough
def test_frozen_in_rebalance(stack: ServerStack, tmp_path: Path, seed: int) -> None:
    """SIGSTOP inside the callback that assigns partitions (1), or that revokes them for another member (2)."""
    with faulty(stack, tmp_path, "etl frozen in-rebalance", seed) as run:
        run.load()
        victim = rebalanced(run, f"in-rebalance:stop@{2 - seed % 2}")
        run.await_stopped(victim)
        thaw_later(run, victim)


def rebalanced(run: Run, failpoint: str) -> Child:
    """Start a member, and another one when the first loads, or at once if its failpoint is reached before."""
    victim = run.etl(failpoint)
    if failpoint.endswith("2"):
        run.await_progress()
    run.etl()
    return victim


def thaw_later(run: Run, victim: Child) -> None:
    """Send SIGCONT to a frozen member after a while."""
    time.sleep(SHORT_SECONDS if run.seed % SHORT_EVERY == SHORT_EVERY - 1 else ZOMBIE_SECONDS)
    victim.process.send_signal(signal.SIGCONT)
