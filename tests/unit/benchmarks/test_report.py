"""Samples, figures, comparisons and reports of benchmarks."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.support.benchmarks.cpu import CpuTime, cpu_time, process_clock
from tests.support.benchmarks.machine import this_machine
from tests.support.benchmarks.report import THIS_PROJECT, Comparison, Figure, Report, read
from tests.support.benchmarks.rows import CPU, P50, P99, RATE, ROWS
from tests.support.benchmarks.samples import Sample, comparisons, figures, sample
from tests.support.load.loops import Outcome

# A program with a thread that computes, and one with a child that does; both end with their stdin.
SPIN = """
import sys, threading
thread = threading.Thread(target=lambda: sum(range(3_000_000)))
thread.start()
thread.join()
print("done", flush=True)
sys.stdin.read()
"""
CHILD = f"""
import subprocess, sys
with subprocess.Popen([sys.executable, "-c", {SPIN!r}], stdin=subprocess.PIPE) as child:
    sys.stdin.read()
"""


@pytest.mark.parametrize("program", [SPIN, CHILD])
def test_cpu_of_threads_and_children(program: str) -> None:
    """What a thread or a child used belongs to the process, and the sum of the threads is the whole."""
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        found = cpu_time(process.pid)
        process.stdin.close()

    assert found.total > 10_000_000
    assert found.threads["main"] > 0


def test_cpu_of_this_process() -> None:
    """The clock of a process is the one that the process reads itself."""
    before = time.process_time_ns()
    found = time.clock_gettime_ns(process_clock(os.getpid()))

    assert before <= found <= time.process_time_ns()


def test_difference() -> None:
    """What was used between two readings is their difference, for threads by name."""
    before = CpuTime(100, Counter({"main": 60, "old": 40}))
    after = CpuTime(350, Counter({"main": 200, "old": 50, "new": 100}))

    assert after.since(before) == CpuTime(250, Counter({"main": 140, "old": 10, "new": 100}))


def test_sample() -> None:
    """CPU is divided by calls, the rate counts events."""
    readings = (
        {"ingest": CpuTime(1_000_000, Counter({"main": 1_000_000})), "kafka": CpuTime()},
        {"ingest": CpuTime(5_000_000, Counter({"main": 3_000_000})), "kafka": CpuTime(2_000_000)},
    )
    taken = sample(100, Outcome(10, 2.0, [0.001]), *readings)

    assert taken.events_per_second == 500
    assert taken.cpu == {"ingest": 400.0, "kafka": 200.0}
    assert taken.threads == {"ingest": {"main": 200.0}, "kafka": {}}
    assert taken.call == 400.0
    assert taken.latencies == [1.0]


def of(call: float, latencies: list[float] | None = None) -> Sample:
    return Sample(1_000.0, {"one": call, "kafka": 7.0}, {"one": {"main": call}, "kafka": {}}, latencies or [])


def test_figures() -> None:
    """A figure has each round's value; the p99 is of all rounds together."""
    found = figures(ROWS["rest-idle"], "naive", [of(1.0, [1.0] * 99 + [9.0] * 2), of(3.0, [2.0]), of(2.0, [4.0])])

    assert {each.quantity: each.values for each in found} == {
        CPU: (1.0, 3.0, 2.0),
        P50: (1.0, 2.0, 4.0),
        P99: (9.0,),
        RATE: (1_000.0,) * 3,
    }
    assert found[0].median == found[0].parts["one"] == found[0].details["one"]["main"] == 2.0


def test_comparisons() -> None:
    """Each clone is compared with each peer that was measured; a batch with the empty call of a single event."""
    found = [
        *figures(ROWS["rest-one"], THIS_PROJECT, [of(100.0)]),
        *figures(ROWS["rest-one"], "naive", [of(200.0)]),
        *figures(ROWS["grpc-batch"], THIS_PROJECT, [of(300.0)]),
        *figures(ROWS["grpc-one"], "empty_grpc", [of(100.0)]),
    ]
    made = comparisons(found, [THIS_PROJECT])

    assert [(each.ratio, each.aim, each.is_met) for each in made] == [(0.5, 0.4, False), (3.0, 2.5, False)]
    assert made[0].title == "REST, one event, 64 connections: CPU"


@pytest.mark.parametrize(
    ("value", "higher", "is_met"), [(2.0, False, True), (2.1, False, False), (2.0, True, True), (1.9, True, False)]
)
def test_aims(value: float, higher: bool, is_met: bool) -> None:
    """An aim is met at its value, and on its better side."""
    assert Comparison("t", "s", "u", value, "b", 1.0, 2.0, higher).is_met is is_met
    assert Comparison("t", "s", "u", value, "b", 1.0).is_met is None


def test_report(tmp_path: Path) -> None:
    """A report that was written is read again, with numbers of five digits."""
    figure = Figure("row", "system", CPU, "us", (1.23456789, 2.0), {"one": 3.0}, {"one": {"main": 3.0}})
    comparison = Comparison("title", "system", "us", 1.0, "peer", 2.0, 0.4)
    report = Report("api", this_machine(), {"rounds": "3"}, "2026-01-01T00:00:00+00:00", 60.0, (figure,), (comparison,))
    again = read(report.write(tmp_path))

    assert again.figures[0].values == (1.2346, 2.0)
    assert again.comparisons == report.comparisons
    assert again.machine == report.machine
    assert again.machine.cores >= 1
