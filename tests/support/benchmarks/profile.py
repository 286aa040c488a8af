"""Profiles one process under one load: `python -m tests.support.benchmarks.profile PROCESS LOAD`; see `make profile`.

It runs the whole chain and saturates it with one of the rows of the benchmark `api`, or loads a backlog with the etl.
py-spy writes a flame graph and the stacks, one after the other; of these, a table has the functions that take the most.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from db.kafka.topics import provision
from local.processes.program import running
from local.settings import ROOT
from local.setup.python_packages import BENCHMARKS
from tests.benchmarks.etl_backlog import LAYOUT, TOPIC, servers
from tests.support.benchmarks.chain import running_chain
from tests.support.benchmarks.rows import ROWS
from tests.support.load.backlog import fill
from tests.support.load.worker import Generator, Load

PY_SPY = BENCHMARKS / "bin" / "py-spy"
PROFILES = ROOT / ".local" / "bench" / "profiles"
BACKLOG = "backlog"
PROCESSES = ("gateway", "ingest", "etl")
SAMPLES_PER_SECOND = 250
# Of a load before the first profile, and beyond the end of the last one.
WARM_SECONDS, MARGIN_SECONDS = 2.0, 4.0
PROFILES_A_RUN = 2
BACKLOG_EVENTS_A_SECOND = 200_000
FUNCTIONS = 40
RECORD_SECONDS_MAX = 120.0
STACK = re.compile(r"(.+) (\d+)")


def main() -> None:
    """Profile, and print the table."""
    options = argparse.ArgumentParser(prog="profile", description="Profiles one process under one load.")
    options.add_argument("process", choices=PROCESSES)
    options.add_argument("load", choices=[*ROWS, BACKLOG], metavar="LOAD", help=f"{' '.join(ROWS)}; {BACKLOG}: for etl")
    options.add_argument("--seconds", type=float, default=8.0, help="of each of the two profiles")
    options.add_argument("--native", action="store_true", help="functions of C libraries too, of all running threads")
    given = options.parse_args()
    if given.load == BACKLOG and given.process != "etl":
        options.error(f"{BACKLOG} loads the etl alone")
    seconds = PROFILES_A_RUN * given.seconds + MARGIN_SECONDS
    with tempfile.TemporaryDirectory(prefix="ugc-profile-") as folder:
        loaded = loading(Path(folder), seconds) if given.load == BACKLOG else requesting(Path(folder), given, seconds)
        with loaded as pid:
            time.sleep(WARM_SECONDS)
            graph, table = record(pid, f"{given.process}-{given.load}", given.seconds, native=given.native)
    sys.stdout.write(f"{table.read_text(encoding='utf-8')}\nflame graph: {graph}\ntable: {table}\n")


@contextlib.contextmanager
def requesting(folder: Path, given: argparse.Namespace, seconds: float) -> Iterator[int]:
    """Run the chain with requests; yield the pid of the process."""
    row = ROWS[given.load]
    with running_chain(folder) as chain, Generator() as generator:
        address = chain.system.http if row.protocol == "http" else chain.system.grpc
        load = Load(row.protocol, address, row.target, row.events, row.slots, WARM_SECONDS + seconds)
        sender = threading.Thread(target=lambda: generator.run(load, lambda: None))
        sender.start()
        yield chain.system.pids[given.process]
        sender.join()


@contextlib.contextmanager
def loading(folder: Path, seconds: float) -> Iterator[int]:
    """Run an etl on a topic that is long enough; yield its pid."""
    events = int(seconds * BACKLOG_EVENTS_A_SECOND)
    with servers(folder, events) as bench, bench.database() as (url, _):
        provision(bench.kafka, TOPIC, LAYOUT)
        fill(bench.kafka, TOPIC, events, seed=1)
        with running(bench.etl(url, TOPIC)) as etl:
            yield etl.process.pid


def record(pid: int, name: str, seconds: float, *, native: bool) -> tuple[Path, Path]:
    """Write the flame graph and the table of a process; return their paths."""
    PROFILES.mkdir(parents=True, exist_ok=True)
    name += "-native" if native else ""
    graph, stacks, table = (PROFILES / f"{name}{suffix}" for suffix in (".svg", ".stacks", ".txt"))
    for kind, path in (("flamegraph", graph), ("raw", stacks)):
        command = [str(PY_SPY), "record", "--subprocesses", "--function", "--format", kind, "--output", str(path)]
        command += ["--duration", str(round(seconds)), "--rate", str(SAMPLES_PER_SECOND), "--pid", str(pid)]
        command.append("--native" if native else "--gil")
        done = subprocess.run(command, capture_output=True, text=True, timeout=RECORD_SECONDS_MAX, check=False)
        if done.returncode:
            sys.exit(f"py-spy failed, which needs the right to trace processes: {done.stderr.strip()}")
    samples = round(seconds) * SAMPLES_PER_SECOND
    table.write_text(top(stacks.read_text(encoding="utf-8").splitlines(), samples), encoding="utf-8")
    return graph, table


def top(stacks: Iterable[str], samples: int) -> str:
    """Return a table of the functions by their own share, from lines `frame;frame;... count`, the callee last.

    The shares are of all samples that were taken, so that a process that waits has small ones.
    """
    own, within = Counter[str](), Counter[str]()
    for path, count in (match.groups() for match in map(STACK.fullmatch, stacks) if match):
        frames = path.split(";")
        own[frames[-1]] += int(count)
        within.update(dict.fromkeys(frames, int(count)))
    lines = [
        f"{own[name] / samples:>7.1%}{within[name] / samples:>8.1%}  {name}" for name, _ in own.most_common(FUNCTIONS)
    ]
    return "\n".join([f"{'own':>7}{'within':>8}  function; {own.total()} of {samples} samples", *lines]) + "\n"


if __name__ == "__main__":
    main()
