"""A member of the etl's group killed or frozen at each step of a batch, under load; others take its partitions over.

A frozen member sleeps longer than the group waits for it, and wakes when its partitions are another's: a zombie.
"""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from local.processes.program import Child
from tests.support.faults.run import Run, faulty
from tests.support.processes.server_stack import GROUP_SESSION_SECONDS, ServerStack

# The point, and the latest time of being reached at which the fault happens.
POINTS = {
    "before-plan": 3,
    "after-plan": 3,
    "before-data": 6,
    "mid-block": 6,
    "after-data": 6,
    "after-acknowledgement": 6,
    "after-commit": 3,
}
# The closing commit comes when a partition is idle for a while: this load is slow enough for that.
PER_SECOND = {"after-commit": 300.0}
PER_SECOND_OTHERWISE = 1_500.0
# These leave a plan behind whose batch is stored not at all, or all, but nobody knows.
UNFINISHED = ("after-plan", "before-data", "mid-block", "after-data", "after-acknowledgement")
# One run in so many freezes for less than the group notices.
SHORT_EVERY = 4
SHORT_SECONDS = 0.5
ZOMBIE_SECONDS = GROUP_SESSION_SECONDS + 2
# What `make test` runs of them, the others being much alike.
TELLING = {"after-plan", "mid-block", "after-data", "after-acknowledgement"}
ALL_POINTS = [point if point in TELLING else pytest.param(point, marks=pytest.mark.thorough) for point in POINTS]


@pytest.mark.parametrize("point", ALL_POINTS)
def test_killed(stack: ServerStack, tmp_path: Path, point: str, seed: int) -> None:
    """Kill -9 at a step; a new process, and in every other run another member, goes on from there."""
    with faulty(stack, tmp_path, f"etl killed {point}", seed) as run:
        victim = run.etl(f"{point}:kill@{run.chance.randint(1, POINTS[point])}")
        if seed % 2:
            run.etl()
        run.load(per_second=PER_SECOND.get(point, PER_SECOND_OTHERWISE))
        run.await_killed(victim)
        run.etl()


@pytest.mark.parametrize("point", ALL_POINTS)
def test_frozen(stack: ServerStack, tmp_path: Path, point: str, seed: int) -> None:
    """SIGSTOP at a step, SIGCONT when another member has taken over."""
    with faulty(stack, tmp_path, f"etl frozen {point}", seed) as run:
        victim = run.etl(f"{point}:stop@{run.chance.randint(1, POINTS[point])}")
        run.etl()
        run.load(per_second=PER_SECOND.get(point, PER_SECOND_OTHERWISE))
        run.await_stopped(victim)
        sleep_and_wake(run, victim)


def test_killed_in_recovery(stack: ServerStack, tmp_path: Path, seed: int) -> None:
    """A member is killed in a batch, its successor while recovering that batch, a third recovers it."""
    with faulty(stack, tmp_path, "etl killed in-recovery", seed) as run:
        first = run.etl(f"{run.chance.choice(UNFINISHED)}:kill@{run.chance.randint(1, 3)}")
        run.load()
        run.await_killed(first)
        run.await_killed(run.etl("in-recovery:kill@1"))
        run.etl()


def test_frozen_in_recovery(stack: ServerStack, tmp_path: Path, seed: int) -> None:
    """A member is killed in a batch, its successor frozen while recovering it, and wakes when a third has recovered."""
    with faulty(stack, tmp_path, "etl frozen in-recovery", seed) as run:
        first = run.etl(f"{run.chance.choice(UNFINISHED)}:kill@{run.chance.randint(1, 3)}")
        run.load()
        run.await_killed(first)
        second = run.etl("in-recovery:stop@1")
        run.await_stopped(second)
        run.etl()
        sleep_and_wake(run, second)


def test_killed_in_rebalance(stack: ServerStack, tmp_path: Path, seed: int) -> None:
    """Kill -9 inside the callback that hands partitions over (1) or takes them away for another member (2)."""
    with faulty(stack, tmp_path, "etl killed in-rebalance", seed) as run:
        run.load()
        victim = rebalanced(run, f"in-rebalance:kill@{2 - seed % 2}")
        run.await_killed(victim)


@pytest.mark.thorough
def test_frozen_in_rebalance(stack: ServerStack, tmp_path: Path, seed: int) -> None:
    """SIGSTOP inside the callback that hands partitions over (1) or takes them away for another member (2)."""
    with faulty(stack, tmp_path, "etl frozen in-rebalance", seed) as run:
        run.load()
        victim = rebalanced(run, f"in-rebalance:stop@{2 - seed % 2}")
        run.await_stopped(victim)
        sleep_and_wake(run, victim)


def rebalanced(run: Run, failpoint: str) -> Child:
    """Start a member, and when it loads, or at once if it cannot get that far, another."""
    victim = run.etl(failpoint)
    if failpoint.endswith("2"):
        run.await_progress()
    run.etl()
    return victim


def sleep_and_wake(run: Run, victim: Child) -> None:
    """Leave a frozen member frozen for a while, then let it go on."""
    time.sleep(SHORT_SECONDS if run.seed % SHORT_EVERY == SHORT_EVERY - 1 else ZOMBIE_SECONDS)
    victim.process.send_signal(signal.SIGCONT)
