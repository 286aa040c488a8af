"""Failpoints: no effect without the variable, the signal at the right time with it, and rejected values."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from common.failpoints import MEANINGS, Failpoint, Name, parse_failpoints
from common.settings import EXIT_BAD_SETTING

PASSES = """
from common.failpoints import FailpointSettings, arm, failpoint
from common.settings import load
arm(load(FailpointSettings).failpoint)
for number in range(3):
    print("before", number, flush=True)
    failpoint("after-plan")
print("end", flush=True)
"""


def passes(failpoint: str) -> subprocess.Popen[str]:
    """Start a process that passes `after-plan` three times."""
    return subprocess.Popen(
        [sys.executable, "-c", PASSES],
        env={**os.environ, "UGC_FAILPOINT": failpoint},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_every_name_has_a_meaning() -> None:
    """Each failpoint has a description of the state of the process."""
    assert set(MEANINGS) == set(get_args(Name))
    assert all(MEANINGS.values())


def test_parse() -> None:
    """Several failpoints are parsed in their order."""
    assert parse_failpoints("after-plan:kill@1,in-recovery:stop@12") == (
        Failpoint("after-plan", signal.SIGKILL, 1),
        Failpoint("in-recovery", signal.SIGSTOP, 12),
    )


@pytest.mark.parametrize(
    "text", ["after-plan", "after-plan:kill", "after-plan:kill@0", "after-plan:kill@x", "after-plan:halt@1", "x:kill@1"]
)
def test_invalid(text: str) -> None:
    """An invalid value ends the process and names the variable."""
    with passes(text) as process:
        _, said = process.communicate(timeout=60)

    assert process.returncode == EXIT_BAD_SETTING
    assert "bad setting UGC_FAILPOINT" in said


@pytest.mark.parametrize(("failpoint", "times"), [("", 3), ("after-data:kill@1", 3), ("after-plan:kill@4", 3)])
def test_no_effect(failpoint: str, times: int) -> None:
    """Without the variable, at other failpoints and before its count, passing has no effect."""
    with passes(failpoint) as process:
        said, _ = process.communicate(timeout=60)

    assert (process.returncode, said.count("before"), "end" in said) == (0, times, True)


@pytest.mark.parametrize("count", [1, 3])
def test_kill(count: int) -> None:
    """The process is killed at the count, after what it did before."""
    with passes(f"after-plan:kill@{count}") as process:
        said, _ = process.communicate(timeout=60)

    assert process.returncode == -signal.SIGKILL
    assert said.count("before") == count


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="a stopped process is seen through /proc")
def test_stop() -> None:
    """The process stops at the count and continues after SIGCONT."""
    with passes("after-plan:stop@2") as process:
        assert os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT) is not None
        process.send_signal(signal.SIGCONT)
        said, _ = process.communicate(timeout=60)

    assert process.returncode == 0
    assert said.count("before") == 3
