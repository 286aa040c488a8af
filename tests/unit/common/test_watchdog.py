"""A process with a blocked event loop exits; one that is only slow does not. A program that hangs is restarted."""

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
# Longer than the watchdog's limit; without a watchdog the process would exit with status 0.
BLOCKING = {
    "waiting": "time.sleep(60)",
    "a lock": "threading.Lock().acquire() and threading.Event().wait(60)",
    # The expression runs for a very long time and holds the interpreter lock.
    "C code": "re.match('(a+)+$', 'a' * 64 + 'b')",
    "a busy loop": "end = time.monotonic() + 60\n        while time.monotonic() < end: pass",
}


def run(body: str, seconds: float) -> subprocess.CompletedProcess[str]:
    """Run a process whose main coroutine is `body`."""
    code = PROCESS.format(body=f"        {body}", seconds=seconds)
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=RUN_SECONDS_MAX, check=False
    )


@pytest.mark.parametrize("body", BLOCKING.values(), ids=BLOCKING.keys())
def test_blocked(body: str) -> None:
    """The process exits with status 1 and the log has the blocking line, whatever blocks the loop."""
    done = run(body, 1.0)

    assert (done.returncode, done.stdout) == (1, "")
    assert "Timeout" in done.stderr
    assert "in main" in done.stderr


def test_slow() -> None:
    """A loop that is repeatedly blocked for less than the limit, or waits for long, continues."""
    done = run("[time.sleep(1) or await asyncio.sleep(0.01) for _ in range(8)] and await asyncio.sleep(8)", 6.0)

    assert (done.returncode, done.stdout, done.stderr) == (0, "ended by itself\n", "")


def test_disarmed() -> None:
    """The watchdog is disarmed at the end of its block, so a shutdown may take longer."""
    done = run("pass\n    time.sleep(3)", 1.0)

    assert (done.returncode, done.stdout, done.stderr) == (0, "ended by itself\n", "")


def test_a_program_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that fails its probe several times in a row is killed and restarted; a single failure has no effect."""
    monkeypatch.setattr(liveness, "PROBE_PAUSE_SECONDS", 0.02)
    asked: list[bool] = []
    said: list[str] = []
    answers = threading.Event()
    answers.set()

    def alive() -> bool:
        # Every other probe fails even while the program works.
        asked.append(answers.is_set() and len(asked) % 2 == 0)
        return asked[-1]

    program = Program("hanging", (sys.executable, "-c", "import time; time.sleep(600)"), tmp_path / "log", alive=alive)
    with Supervisor(said.append) as supervisor:
        supervisor.start([program])
        (first,) = supervisor.children
        await_equal(lambda: len(asked) > 5 * liveness.FAILURES_MAX, wanted=True)
        supervisor.check()
        assert (said, supervisor.children) == ([], [first])

        answers.clear()
        await_equal(lambda: bool(supervisor.liveness.hung), wanted=True)
        answers.set()
        supervisor.check()
        (second,) = supervisor.children
        assert second.process.pid != first.process.pid
        assert said[0] == "hanging runs and does not answer; it is killed"
        assert "was killed by SIGKILL; started again" in said[1]
        await_equal(lambda: supervisor.liveness.hung, set())
