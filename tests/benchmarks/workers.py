"""Measures what a second worker gains: the rate of ingest and of the gateway with one and with two.

`python -m tests.benchmarks.workers [--rounds N]`. The rows with refused batches keep only the measured process busy: it
refuses them itself. The batches of the other rows go to Kafka, whose broker needs cores of the same machine.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from local.settings import ROOT
from tests.support.benchmarks.report import Comparison, Run
from tests.support.benchmarks.rows import BATCH_PRODUCE, RATE, UNITS, Row
from tests.support.benchmarks.samples import Bench, Sample, figures
from tests.support.benchmarks.systems import UNHURRIED, Clone, System, kafka, tree
from tests.support.benchmarks.tables import show
from tests.support.load.worker import Generator

COUNT = 2
ONE, TWO = "one worker", "two workers"
SETTINGS = {ONE: "1", TWO: str(COUNT)}
AIM = 1.6
WARM_SECONDS = 4.0
REST_BATCH = "/api/v1/batch_produce"
# Large bodies that one of two workers of the gateway accepts at once, if it should get all connections.
REST_SLOTS = 8
ROWS = {
    row.name: row
    for row in (
        Row(
            "gateway-refused",
            "REST, batches of 500 with an error",
            "http",
            REST_BATCH,
            500,
            REST_SLOTS,
            (),
            is_refused=True,
        ),
        Row(
            "ingest-refused",
            "gRPC BatchProduce of 100 with errors",
            "grpc",
            BATCH_PRODUCE,
            100,
            16,
            (),
            is_refused=True,
            connections=16,
        ),
        Row("rest-batch", "REST, batches of 500, to Kafka", "http", REST_BATCH, 500, REST_SLOTS, ()),
        Row("grpc-batch", "gRPC BatchProduce of 100, to Kafka", "grpc", BATCH_PRODUCE, 100, 16, (), connections=16),
    )
}


def main() -> None:
    """Measure, print, and write the report."""
    options = argparse.ArgumentParser(prog="workers", description="Measures what a second worker gains.")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--seconds", type=float, default=2.5, help="of each row and round")
    given = options.parse_args()
    run = Run("workers")
    samples: dict[tuple[str, str], list[Sample]] = {}
    with tempfile.TemporaryDirectory(prefix="ugc-bench-") as folder, kafka(Path(folder)) as (bootstrap, broker):
        for number in range(given.rounds):
            with systems(Path(folder), bootstrap) as running, Generator() as generator:
                if number == 0:
                    # The broker compiles its code meanwhile.
                    Bench(generator, broker, WARM_SECONDS).measure(ROWS["rest-batch"], running[0], seed=0)
                bench = Bench(generator, broker, given.seconds)
                for row in ROWS.values():
                    for system in running if number % 2 == 0 else running[::-1]:
                        taken = bench.measure(row, system, seed=number)
                        rate = f"{taken.events_per_second:,.0f} events/s"
                        sys.stdout.write(f"round {number + 1}  {row.name:<16}{system.name:<13}{rate}\n")
                for key, each in bench.samples.items():
                    samples.setdefault(key, []).extend(each)
    found = [each for (row, system), taken in samples.items() for each in figures(ROWS[row], system, taken)]
    titles = {name: row.title for name, row in ROWS.items()}
    show(run.end(found, comparisons(samples), titles, vars(given)))


@contextlib.contextmanager
def systems(folder: Path, bootstrap: str) -> Iterator[list[System]]:
    """Run ingest and the gateway with one worker each, and again with two."""
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(
                tree(
                    name,
                    Clone(ROOT, {"UGC_INGEST_WORKERS": count, "UGC_GATEWAY_WORKERS": count}),
                    folder,
                    bootstrap,
                    UNHURRIED,
                )
            )
            for name, count in SETTINGS.items()
        ]


def comparisons(samples: dict[tuple[str, str], list[Sample]]) -> list[Comparison]:
    """Return the ratio of the rates of each row; the aim is for those that keep only the measured process busy."""
    rates = {key: median(each.events_per_second for each in taken) for key, taken in samples.items()}
    return [
        Comparison(
            f"{row.title}: {RATE}",
            TWO,
            UNITS[RATE],
            rates[name, TWO],
            ONE,
            rates[name, ONE],
            AIM if row.is_refused else None,
            higher=True,
        )
        for name, row in ROWS.items()
    ]


if __name__ == "__main__":
    main()
