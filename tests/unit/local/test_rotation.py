"""The logs of child processes have a size limit, also while the children write to them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from local.processes import rotation
from local.processes.program import Child, Program
from local.processes.rotation import copy, rotate
from local.processes.supervisor import Supervisor
from tests.support.processes.system import await_equal

BYTES_MAX = 20_000
# Writes numbered lines indefinitely, a few hundred between two checks of the supervisor.
WRITER = """
import itertools, sys, time
for number in itertools.count():
    sys.stdout.write(f"line {number:09}\\n")
    if number % 100 == 99:
        sys.stdout.flush()
        time.sleep(0.01)
"""


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the limit small enough for a test."""
    monkeypatch.setattr(rotation, "LOG_BYTES_MAX", BYTES_MAX)


def test_small_logs_are_left(tmp_path: Path) -> None:
    """A log within the limit stays as it is, and a missing one is not created."""
    log = tmp_path / "log"
    rotate(log)
    log.write_bytes(b"x" * BYTES_MAX)
    rotate(log)

    assert [path.name for path in tmp_path.iterdir()] == ["log"]
    assert log.stat().st_size == BYTES_MAX


def test_copies(tmp_path: Path) -> None:
    """A larger log becomes copy 1, the numbers of the other copies go up by one, and the oldest copy is deleted."""
    log = tmp_path / "log"
    for number in range(rotation.LOG_COPIES_MAX + 2):
        log.write_bytes(b"%d" % number * (BYTES_MAX + 1))
        rotate(log)
        assert log.read_bytes() == b""

    kept = [copy(log, number).read_bytes()[:1] for number in range(1, rotation.LOG_COPIES_MAX + 1)]
    assert kept == [b"4", b"3", b"2"]
    assert len(list(tmp_path.iterdir())) == rotation.LOG_COPIES_MAX + 1


def test_a_huge_log(tmp_path: Path) -> None:
    """Only the end of a log is kept that is many times larger than the limit."""
    log = tmp_path / "log"
    log.write_bytes(b"x" * 10 * BYTES_MAX + b"the end")
    rotate(log)

    assert copy(log, 1).stat().st_size == BYTES_MAX
    assert copy(log, 1).read_bytes().endswith(b"xthe end")


def test_before_the_start(tmp_path: Path) -> None:
    """The log of a program that is restarted again and again stays within the limit."""
    program = Program("short", (sys.executable, "-c", "print('x' * 15_000)"), tmp_path / "log")
    for _ in range(5):
        child = Child(program)
        assert child.process.wait(60) == 0
        child.stop()

    assert (tmp_path / "log").stat().st_size < 2 * BYTES_MAX
    assert copy(tmp_path / "log", 1).exists()


def test_while_it_runs(tmp_path: Path) -> None:
    """The log of a running program stays within the limit; its lines are complete, without zero bytes between them."""
    log = tmp_path / "log"
    program = Program("writer", (sys.executable, "-c", WRITER), log)
    with Supervisor(lambda _: None) as supervisor:
        supervisor.start([program])
        for _ in range(2 * rotation.LOG_COPIES_MAX):
            await_equal(lambda: log.stat().st_size > BYTES_MAX, wanted=True)
            supervisor.check()
        assert supervisor.children[0].process.poll() is None

    copies = [copy(log, number) for number in range(1, rotation.LOG_COPIES_MAX + 1)]
    assert sorted(tmp_path.iterdir()) == sorted([log, *copies])
    assert max(each.stat().st_size for each in copies) <= BYTES_MAX
    # The first and the last line of a copy may be cut.
    lines = [line for each in copies for line in each.read_bytes().split(b"\n")[1:-1]]
    assert {len(line) for line in lines} == {len("line 000000000")}
    assert {line[:5] for line in lines} == {b"line "}
