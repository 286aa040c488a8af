"""Measures REST and gRPC with a real Kafka, beside the peers: CPU of whole processes, events a second, latency.

`python -m tests.benchmarks.api --rows rest-one --trees OLD NEW` compares two clones of this project in one run, each
with its own environment. The systems alternate in every round, and medians are printed. The CPU of the generator does
not count; that of the broker stands beside the others and is in no sum.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from local.settings import ROOT
from tests.support.benchmarks.report import THIS_PROJECT, Run
from tests.support.benchmarks.rows import PEER_TITLES, ROWS
from tests.support.benchmarks.samples import Bench, Sample, comparisons, figures
from tests.support.benchmarks.systems import UNHURRIED, Clone, System, kafka, peers, tree
from tests.support.benchmarks.tables import show
from tests.support.load.worker import Generator

# The broker compiles its code meanwhile.
WARM_ROWS, WARM_SECONDS = ("rest-batch", "rest-one"), 4.0


def main() -> None:
    """Measure, print, and write the report."""
    given = arguments()
    run = Run("api")
    trees = labels(given.trees)
    samples: dict[tuple[str, str], list[Sample]] = {}
    with tempfile.TemporaryDirectory(prefix="ugc-bench-") as folder, kafka(Path(folder)) as (bootstrap, broker):
        for number in range(given.rounds):
            with systems(Path(folder), bootstrap, trees, given.peers) as running, Generator() as generator:
                if number == 0:
                    warm_up(Bench(generator, broker, WARM_SECONDS), running[0])
                bench = Bench(generator, broker, given.seconds)
                measure(bench, given.rows, running if number % 2 == 0 else running[::-1], number)
                for key, taken in bench.samples.items():
                    samples.setdefault(key, []).extend(taken)
    found = [each for (row, system), taken in samples.items() for each in figures(ROWS[row], system, taken)]
    found.sort(key=lambda each: list(ROWS).index(each.row))
    titles = {name: row.title for name, row in ROWS.items()} | PEER_TITLES
    options = {"rounds": given.rounds, "seconds": given.seconds, "rows": " ".join(given.rows)}
    show(run.end(found, comparisons(found, list(trees)), titles, options), details=given.threads)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    options = argparse.ArgumentParser(prog="api", description="Measures the costs of both APIs.")
    options.add_argument(
        "--rows", nargs="+", choices=list(ROWS), default=list(ROWS), metavar="ROW", help=" ".join(ROWS)
    )
    trees = "clones of this project to compare, each with settings, as in ../before .,UGC_GATEWAY_WORKERS=2"
    options.add_argument("--trees", nargs="+", default=[str(ROOT)], metavar="PATH[,NAME=VALUE]", help=trees)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--seconds", type=float, default=2.5, help="of each row, system and round")
    options.add_argument("--no-peers", dest="peers", action="store_false", help="measure the clones alone")
    options.add_argument("--threads", action="store_true", help="print the CPU of threads too")
    return options.parse_args()


def labels(trees: list[str]) -> dict[str, Clone]:
    """Return the clones by a short name: folder and settings, with a number where two are the same."""
    found: dict[str, Clone] = {}
    for text in trees:
        path, *settings = text.split(",")
        name = THIS_PROJECT if len(trees) == 1 else " ".join([Path(path).resolve().name, *settings])
        pairs = dict(setting.split("=", 1) for setting in settings)
        found[name if name not in found else f"{name} {len(found)}"] = Clone(Path(path).resolve(), pairs)
    return found


@contextlib.contextmanager
def systems(folder: Path, bootstrap: str, trees: dict[str, Clone], peers_wanted: bool) -> Iterator[list[System]]:
    """Run the clones, and the peers if they are wanted."""
    with contextlib.ExitStack() as stack:
        found = [stack.enter_context(tree(name, clone, folder, bootstrap, UNHURRIED)) for name, clone in trees.items()]
        if peers_wanted:
            found += stack.enter_context(peers(folder, bootstrap))
        yield found


def warm_up(bench: Bench, system: System) -> None:
    """Load the broker before the first measurement."""
    for name in WARM_ROWS:
        bench.measure(ROWS[name], system, seed=0)


def measure(bench: Bench, rows: list[str], running: list[System], number: int) -> None:
    """Measure one round and print it."""
    for row in map(ROWS.__getitem__, rows):
        for system in running:
            if system.is_peer and system.name not in row.peers:
                continue
            taken = bench.measure(row, system, seed=number)
            parts = ", ".join(f"{name} {value:,.1f}" for name, value in taken.cpu.items())
            rate = f"{taken.events_per_second:,.0f} events/s"
            sys.stdout.write(
                f"round {number + 1}  {row.name:<11}{system.name:<13}{taken.call:>9,.1f} us a call ({parts})  {rate}\n"
            )
            sys.stdout.flush()


if __name__ == "__main__":
    main()
