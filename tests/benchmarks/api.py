"""Measures REST and gRPC with a real Kafka, beside the peers: CPU of whole processes, events a second, latency.

`python -m tests.benchmarks.api --rows rest-one --trees OLD NEW` compares two clones of this project in one run, each
with its own environment. The systems alternate in every round, and medians are printed. The CPU of the generator does
not count; that of the broker is a column of its own and in no sum.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from local.settings import ROOT
from tests.support.benchmarks.rows import KAFKA, ROWS, Row, Sample, measured, middle
from tests.support.benchmarks.systems import System, kafka, peers, tree
from tests.support.load.worker import Generator

COLUMNS = 170
BROKER_WARM_SECONDS = 4.0
THREAD_SHARE_MIN = 0.02
Samples = dict[tuple[str, str], list[Sample]]


def main() -> None:
    """Measure and print."""
    given = arguments()
    names = labels(given.trees)
    rows = [ROWS[name] for name in given.rows]
    samples: Samples = {}
    with tempfile.TemporaryDirectory(prefix="ugc-bench-") as folder, kafka(Path(folder)) as (bootstrap, broker):
        for number in range(given.rounds):
            with systems(Path(folder), bootstrap, names, peers_wanted=given.peers) as running, Generator() as generator:
                order = list(running.values())
                if number == 0:
                    warm_up(generator, order[0], broker)
                for row in rows:
                    for system in order if number % 2 == 0 else reversed(order):
                        if system.name in names or system.name in row.peers:
                            one = measured(generator, row, system, broker, given.seconds)
                            samples.setdefault((row.name, system.name), []).append(one)
                            progress(number, row, system, one)
    show(rows, samples, list(names))
    if given.threads:
        show_threads(rows, samples)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    options = argparse.ArgumentParser(prog="api", description="Measures the costs of both APIs.")
    options.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS), metavar="ROW")
    options.add_argument("--trees", nargs="+", type=Path, default=[ROOT], help="clones of this project to compare")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--seconds", type=float, default=3.0, help="of each row, system and round")
    options.add_argument("--no-peers", dest="peers", action="store_false", help="measure the clones alone")
    options.add_argument("--threads", action="store_true", help="print the CPU of threads too")
    return options.parse_args()


def labels(trees: list[Path]) -> dict[str, Path]:
    """Return the clones by a short name: that of the folder, with a number where two are the same."""
    found: dict[str, Path] = {}
    for path in trees:
        name = path.resolve().name
        found[name if name not in found else f"{name}-{len(found)}"] = path.resolve()
    return found


@contextlib.contextmanager
def systems(folder: Path, bootstrap: str, trees: dict[str, Path], *, peers_wanted: bool) -> Iterator[dict[str, System]]:
    """Run the clones, and the peers if they are wanted."""
    with contextlib.ExitStack() as stack:
        found = {name: stack.enter_context(tree(name, root, folder, bootstrap, {})) for name, root in trees.items()}
        if peers_wanted:
            found |= stack.enter_context(peers(folder, bootstrap))
        yield found


def warm_up(generator: Generator, system: System, broker: int) -> None:
    """Let the broker compile its code before the first measurement."""
    for name in ("rest-batch", "rest-one"):
        measured(generator, ROWS[name], system, broker, BROKER_WARM_SECONDS)


def progress(number: int, row: Row, system: System, one: Sample) -> None:
    """Print one measurement."""
    parts = ", ".join(f"{name} {value:,.1f}" for name, value in one.cpu.items())
    sys.stdout.write(
        f"round {number + 1}  {row.name:<11}{system.name:<12}{one.call:>9,.1f} us a call ({parts})"
        f"  {one.events_per_second:>9,.0f} events/s\n"
    )
    sys.stdout.flush()


def show(rows: list[Row], samples: Samples, trees: list[str]) -> None:
    """Print medians, and the ratios to the peers with the aims."""
    table = Table(box=box.SIMPLE, title="medians; microseconds of CPU of whole processes")
    for name in ("", "system", "us/event", "us/call", "of it", "kafka", "events/s", "beside", "ratio", "aim"):
        table.add_column(name, justify="left" if name in ("", "system", "of it", "beside") else "right", no_wrap=True)
    for row in rows:
        for (name, system), each in samples.items():
            if name != row.name:
                continue
            one = middle(each)
            beside = samples.get((row.beside_row, row.beside)) if system in trees else None
            ratio = f"{one.call / middle(beside).call:.2f}" if beside else ""
            table.add_row(
                row.title,
                system,
                f"{one.call / row.events:,.1f}",
                f"{one.call:,.0f}",
                ", ".join(f"{process} {value:,.0f}" for process, value in one.cpu.items() if process != KAFKA),
                f"{one.cpu[KAFKA]:,.0f}",
                f"{one.events_per_second:,.0f}",
                row.beside if beside else "",
                ratio,
                f"{row.aim:g}" if ratio else "",
            )
    Console(width=COLUMNS).print(table)


def show_threads(rows: list[Row], samples: Samples) -> None:
    """Print the CPU of the threads of each process."""
    for row in rows:
        for (name, system), each in samples.items():
            if name == row.name:
                one = middle(each)
                for process, threads in one.threads.items():
                    spent = sorted(threads.items(), key=lambda pair: -pair[1])
                    parts = [f"{thread} {us:,.1f}" for thread, us in spent if us > THREAD_SHARE_MIN * one.cpu[process]]
                    print(f"{row.name:<11}{system:<12}{process:<10} {', '.join(parts)}")


if __name__ == "__main__":
    main()
