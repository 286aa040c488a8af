"""Measures the whole chain on this machine: generator, gateway or gRPC, Kafka, etl, ClickHouse.

For each kind of request it saturates the APIs, and counts until every event is a row: that is the sustained rate. Then
it sends single events at half of that rate, and measures from each acknowledgement until the row is visible.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from tests.support.benchmarks.chain import Chain, running_chain
from tests.support.benchmarks.cpu import cpu_times
from tests.support.benchmarks.report import THIS_PROJECT, Figure, Run
from tests.support.benchmarks.rows import POISSON, ROWS, Row
from tests.support.benchmarks.samples import Sample, medians
from tests.support.benchmarks.tables import show
from tests.support.load.arrivals import percentile
from tests.support.load.worker import Generator, Load

PATHS = ("rest-one", "grpc-one", "rest-batch", "grpc-batch")
VISIBLE_PATHS = ("rest-one", "grpc-one")
CPU, SUSTAINED = "CPU of all processes", "sustained rate"
VISIBLE = "acknowledged to visible, "
HALF = 0.5
# The broker and ClickHouse compile and fill their caches meanwhile.
WARM_SECONDS = 4.0
ARRIVALS_MARGIN = 1.5


def main() -> None:
    """Measure, print, and write the report."""
    options = argparse.ArgumentParser(prog="chain", description="Measures the whole chain on this machine.")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--seconds", type=float, default=4.0, help="of each load")
    given = options.parse_args()
    run = Run("chain")
    samples: dict[str, list[Sample]] = defaultdict(list)
    delays: dict[str, list[list[float]]] = defaultdict(list)
    with (
        tempfile.TemporaryDirectory(prefix="ugc-bench-") as folder,
        running_chain(Path(folder)) as chain,
        Generator() as generator,
    ):
        sustained(chain, generator, ROWS["rest-batch"], WARM_SECONDS)
        for number in range(given.rounds):
            for name in PATHS if number % 2 == 0 else PATHS[::-1]:
                samples[name].append(sustained(chain, generator, ROWS[name], given.seconds))
                progress(number, name, f"{samples[name][-1].events_per_second:,.0f} events/s")
            for name in VISIBLE_PATHS:
                rate = HALF * samples[name][-1].events_per_second
                delays[name].append(to_visible(chain, generator, ROWS[name], rate, given.seconds, number))
                progress(number, name, f"{percentile(delays[name][-1], 0.5):.3f} s from acknowledged to visible")
    titles = {name: ROWS[name].title for name in PATHS}
    show(run.end(figures(samples, delays), titles=titles, options=vars(given)))


def sustained(chain: Chain, generator: Generator, row: Row, seconds: float) -> Sample:
    """Saturate the APIs, and return events a second until the last row was visible, with the CPU of all processes."""
    system = chain.system
    address = system.http if row.protocol == "http" else system.grpc
    load = Load(row.protocol, address, row.target, row.events, row.slots, seconds, warm_seconds=0.0)
    rows, began = chain.rows(), time.time()
    outcome, before, _ = generator.run(load, lambda: cpu_times(system.pids))
    events = outcome.completed * row.events
    chain.await_rows(rows + events)
    after = cpu_times(system.pids)
    # The chain is as fast as its slowest part.
    rate = events / max(outcome.seconds, chain.loading_seconds(began))
    return Sample(rate, {name: after[name].since(before[name]).total / 1e3 / events for name in after}, {})


def to_visible(chain: Chain, generator: Generator, row: Row, rate: float, seconds: float, seed: int) -> list[float]:
    """Send single events at a rate; return the seconds from each acknowledgement until the row was visible."""
    system = chain.system
    address = system.http if row.protocol == "http" else system.grpc
    count = int(ARRIVALS_MARGIN * rate * seconds) + 1
    load = Load(row.protocol, address, row.target, 1, row.slots, seconds, warm_seconds=0.0)
    # Rows only grow, so that no event_id is used twice.
    load = replace(load, arrivals=POISSON, per_second=rate, seed=seed, identified=count, first_identity=chain.rows())
    rows = load.first_identity
    with chain.without_merges():
        outcome, _, _ = generator.run(load, lambda: None)
        chain.await_rows(rows + outcome.completed)
        return chain.delays({rows + number: at for number, at in outcome.answered.items()})


def figures(samples: dict[str, list[Sample]], delays: dict[str, list[list[float]]]) -> list[Figure]:
    """Return the figures; the p99 is of all rounds together."""
    found = []
    for name, taken in samples.items():
        rates = tuple(each.events_per_second for each in taken)
        found.append(Figure(name, THIS_PROJECT, SUSTAINED, "events/s", rates))
        cpu = tuple(sum(each.cpu.values()) for each in taken)
        found.append(Figure(name, THIS_PROJECT, CPU, "us an event", cpu, medians([each.cpu for each in taken])))
        if name in delays:
            p50 = tuple(percentile(each, 0.5) for each in delays[name])
            p99 = (percentile([delay for each in delays[name] for delay in each], 0.99),)
            found.append(Figure(name, THIS_PROJECT, VISIBLE + "p50", "s", p50))
            found.append(Figure(name, THIS_PROJECT, VISIBLE + "p99", "s", p99))
    return found


def progress(number: int, name: str, text: str) -> None:
    """Print one measurement."""
    sys.stdout.write(f"round {number + 1}  {name:<11}{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
