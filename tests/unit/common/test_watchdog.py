"""A process whose event loop stands still ends; one that is only slow does not. A program that hangs is restarted."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from local.processes import liveness
from local.processes.program import Program
from local.processes.supervisor import Supervisor
from tests.support.processes.system import await_equal

RUN_SECONDS_MAX = 120
PROCESS = """
import asyncio, re, sys, threading, time
from common.watchdog import WatchdogSettings, watched

async def main():
    async with watched(WatchdogSettings(loop_seconds_max={seconds})):
{body}
    print("ended by itself", flush=True)

asyncio.run(main())
"""
# Long enough to be found; a watchdog that did nothing would let the process end by itself.
STANDS_STILL = {
    "waiting": "time.sleep(60)",
    "a lock": "threading.Lock().acquire() and threading.Event().wait(60)",
    # The expression takes ever longer and holds the interpreter's lock.
    "C code": "re.match('(a+)+$', 'a' * 64 + 'b')",
    "a busy loop": "end = time.monotonic() + 60\n        while time.monotonic() < end: pass",
}


def run(body: str, seconds: float) -> subprocess.CompletedProcess[str]:
    """Run a process whose main coroutine is `body`."""
    code = PROCESS.format(body=f"        {body}", seconds=seconds)
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=RUN_SECONDS_MAX, check=False
    )


@pytest.mark.parametrize("body", STANDS_STILL.values(), ids=STANDS_STILL.keys())
def test_stands_still(body: str) -> None:
    """The process ends with status 1 and the log has the line at which it stood, whatever holds the loop."""
    done = run(body, 1.0)

    assert (done.returncode, done.stdout) == (1, "")
    assert "Timeout" in done.stderr
    assert "in main" in done.stderr


def test_slow() -> None:
    """A loop that is held for less than the limit again and again, or waits for long, goes on."""
    done = run("[time.sleep(1) or await asyncio.sleep(0.01) for _ in range(8)] and await asyncio.sleep(8)", 6.0)

    assert (done.returncode, done.stdout, done.stderr) == (0, "ended by itself\n", "")


def test_left() -> None:
    """Nothing watches once the block is left: what a process does while it ends may take its time."""
    done = run("pass\n    time.sleep(3)", 1.0)

    assert (done.returncode, done.stdout, done.stderr) == (0, "ended by itself\n", "")


def test_a_program_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that runs and fails its probe so often in a row is killed and started again; one failure is nothing."""
    monkeypatch.setattr(liveness, "PROBE_PAUSE_SECONDS", 0.02)
    asked: list[bool] = []
    said: list[str] = []
    answers = threading.Event()
    answers.set()

    def alive() -> bool:
        # Every other question fails even while the program is well.
        asked.append(answers.is_set() and len(asked) % 2 == 0)
        return asked[-1]

    program = Program("hanging", (sys.executable, "-c", "import time; time.sleep(600)"), tmp_path / "log", alive=alive)
    with Supervisor(said.append) as supervisor:
        supervisor.start([program])
        (first,) = supervisor.children
        await_equal(lambda: len(asked) > 5 * liveness.FAILURES_MAX, wanted=True)
        supervisor.tend()
        assert (said, supervisor.children) == ([], [first])

        answers.clear()
        await_equal(lambda: bool(supervisor.liveness.hung), wanted=True)
        answers.set()
        supervisor.tend()
        (second,) = supervisor.children
        assert second.process.pid != first.process.pid
        assert said[0] == "hanging runs and does not answer; it is killed"
        assert "was killed by SIGKILL; started again" in said[1]
        await_equal(lambda: supervisor.liveness.hung, set())
