"""Ingest is killed or frozen between produce and delivery report, while clients retry their events."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from tests.support.faults.run import faulty
from tests.support.processes.server_stack import ServerStack

POINT = "between-produce-and-report"
KILLS = 3
REQUESTS_MAX = 10
FROZEN_SECONDS = 2.0


def test_killed(stack: ServerStack, tmp_path: Path, seed: int) -> None:
    """Kill -9, several times: events that reached Kafka without an answer are retried by clients, and stored once."""
    with faulty(stack, tmp_path, f"ingest killed {POINT}", seed, ingest=False) as run:
        run.etl()
        victim = run.ingest(f"{POINT}:kill@{run.chance.randint(1, REQUESTS_MAX)}")
        run.load()
        for _ in range(KILLS - 1):
            run.await_killed(victim)
            victim = run.ingest(f"{POINT}:kill@{run.chance.randint(1, REQUESTS_MAX)}")
        run.await_killed(victim)
        run.ingest()


@pytest.mark.thorough
def test_killed_at_any_time(stack: ServerStack, tmp_path: Path, seed: int) -> None:
    """Kill -9 from outside at random moments of the load."""
    with faulty(stack, tmp_path, "ingest killed at any time", seed) as run:
        run.etl()
        run.load()
        for _ in range(KILLS):
            time.sleep(run.chance.uniform(0.2, 1.0))
            run.kill(run.ingests[0])
            run.ingest()


@pytest.mark.thorough
def test_frozen(stack: ServerStack, tmp_path: Path, seed: int) -> None:
    """SIGSTOP at the failpoint, SIGCONT after a while."""
    with faulty(stack, tmp_path, f"ingest frozen {POINT}", seed, ingest=False) as run:
        run.etl()
        victim = run.ingest(f"{POINT}:stop@{run.chance.randint(1, REQUESTS_MAX)}")
        run.load()
        run.await_stopped(victim)
        time.sleep(FROZEN_SECONDS)
        victim.process.send_signal(signal.SIGCONT)
