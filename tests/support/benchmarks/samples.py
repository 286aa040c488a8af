"""Measures one row on one system, and makes figures and comparisons of the samples of all rounds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from statistics import median

from tests.support.benchmarks.cpu import CpuTime, cpu_times
from tests.support.benchmarks.report import Comparison, Figure
from tests.support.benchmarks.rows import (
    AIMS,
    CLOSED,
    CPU,
    IDLE_PER_SECOND,
    P50,
    P99,
    PEER_TITLES,
    POISSON,
    RATE,
    ROWS,
    UNITS,
    Row,
)
from tests.support.benchmarks.systems import System
from tests.support.load.arrivals import percentile
from tests.support.load.loops import Outcome
from tests.support.load.worker import Generator, Load

BROKER = "kafka"
HALF = 0.5


@dataclass(frozen=True)
class Sample:
    """One round of a row on a system: events a second, microseconds of CPU a call, and latencies in milliseconds.

    `cpu` is by process, the broker's too; `threads` by process and name of the threads.
    """

    events_per_second: float
    cpu: dict[str, float]
    threads: dict[str, dict[str, float]]
    latencies: list[float] = field(default_factory=list)

    @property
    def call(self) -> float:
        """The microseconds of a call, without the broker's."""
        return sum(value for name, value in self.cpu.items() if name != BROKER)


class Bench:
    """Measures rows on systems, and keeps the samples."""

    def __init__(self, generator: Generator, broker: int, seconds: float) -> None:
        self.generator = generator
        self._broker = broker
        self._seconds = seconds
        self.samples: dict[tuple[str, str], list[Sample]] = {}

    def measure(self, row: Row, system: System, seed: int) -> Sample:
        """Measure a row on a system once; at half of saturation, of which a sample must exist or is taken first."""
        address = system.http if row.protocol == "http" else system.grpc
        load = Load(row.protocol, address, row.target, row.events, row.slots, self._seconds)
        load = replace(load, is_refused=row.is_refused, connections=row.connections)
        if row.arrivals != CLOSED:
            rate = HALF * self._saturation(row, system, seed) if row.arrivals == POISSON else IDLE_PER_SECOND
            load = replace(load, arrivals=row.arrivals, per_second=rate, seed=seed)
        pids = {**system.pids, BROKER: self._broker}
        taken = sample(row.events, *self.generator.run(load, lambda: cpu_times(pids)))
        self.samples.setdefault((row.name, system.name), []).append(taken)
        return taken

    def _saturation(self, row: Row, system: System, seed: int) -> float:
        taken = self.samples.get((row.saturated, system.name))
        return (taken[-1] if taken else self.measure(ROWS[row.saturated], system, seed)).events_per_second


def sample(events: int, outcome: Outcome, before: dict[str, CpuTime], after: dict[str, CpuTime]) -> Sample:
    """Divide what was used between two readings by the calls."""
    used = {name: after[name].since(before[name]) for name in after}
    scale = 1_000 * outcome.completed
    return Sample(
        outcome.completed * events / outcome.seconds,
        {name: each.total / scale for name, each in used.items()},
        {name: {thread: spent / scale for thread, spent in each.threads.items()} for name, each in used.items()},
        [1_000 * latency for latency in outcome.latencies],
    )


def figures(row: Row, system: str, samples: Sequence[Sample]) -> list[Figure]:
    """Return the figures of a row on a system. The p99 is of all rounds together: one round has few values above it."""
    processes = {name: median(each.cpu[name] for each in samples) for name in samples[0].cpu}
    threads = {name: medians([each.threads[name] for each in samples]) for name in samples[0].threads}
    found = [Figure(row.name, system, CPU, UNITS[CPU], tuple(each.call for each in samples), processes, threads)]
    if row.arrivals != CLOSED:
        every = [latency for each in samples for latency in each.latencies]
        p50 = tuple(percentile(each.latencies, 0.5) for each in samples)
        found.append(Figure(row.name, system, P50, UNITS[P50], p50))
        found.append(Figure(row.name, system, P99, UNITS[P99], (percentile(every, 0.99),)))
    rates = tuple(each.events_per_second for each in samples)
    return [*found, Figure(row.name, system, RATE, UNITS[RATE], rates)]


def medians(rounds: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return the median of each value; a thread that a round did not have counts as idle."""
    return {
        name: median(each.get(name, 0.0) for each in rounds) for name in {key: 0 for each in rounds for key in each}
    }


def comparisons(found: Iterable[Figure], trees: Sequence[str]) -> list[Comparison]:
    """Return the comparisons of each clone of the project with the peers that were measured."""
    values = {(each.row, each.system, each.quantity): each for each in found}
    return [
        Comparison(
            title=f"{ROWS[aim.row].title}: {aim.quantity}",
            system=tree,
            unit=UNITS[aim.quantity],
            value=own.median,
            beside=PEER_TITLES[aim.beside],
            beside_value=peer.median,
            aim=aim.ratio,
        )
        for aim in AIMS
        for tree in trees
        if (own := values.get((aim.row, tree, aim.quantity)))
        and (peer := values.get((aim.beside_row, aim.beside, aim.quantity)))
    ]
