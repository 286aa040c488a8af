"""The rows of the benchmark of the APIs: what is sent, to which systems, and the aims."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from tests.support.benchmarks.cpu import CpuTime, cpu_times
from tests.support.benchmarks.systems import System
from tests.support.load.loops import Outcome
from tests.support.load.worker import Generator, Load

IDLE_PER_SECOND = 50.0
KAFKA = "kafka"


@dataclass(frozen=True)
class Row:
    """One kind of request; `peers` are measured beside the project.

    The aim is that the project's CPU of a call is at most `aim` times that of `beside`, a peer in the row `beside_row`.
    """

    name: str
    title: str
    protocol: str
    target: str
    events: int
    slots: int
    peers: tuple[str, ...]
    aim: float
    beside: str
    beside_row: str

    def load(self, system: System, seconds: float) -> Load:
        """Return the load that saturates a system."""
        address = system.http if self.protocol == "http" else system.grpc
        return Load(self.protocol, address, self.target, self.events, self.slots, seconds)


PRODUCE, BATCH_PRODUCE = "/ugc.v1.IngestService/Produce", "/ugc.v1.IngestService/BatchProduce"
ROWS = {
    row.name: row
    for row in (
        Row(
            "rest-one",
            "REST, one event, 64 connections",
            "http",
            "/api/v1/produce",
            1,
            64,
            ("naive", "empty_http"),
            0.4,
            "naive",
            "rest-one",
        ),
        Row(
            "grpc-one",
            "gRPC Produce, 64 in flight",
            "grpc",
            PRODUCE,
            1,
            64,
            ("empty_grpc",),
            1.3,
            "empty_grpc",
            "grpc-one",
        ),
        Row(
            "rest-batch",
            "REST, batch of 500, 8 connections",
            "http",
            "/api/v1/batch_produce",
            500,
            8,
            ("naive",),
            0.12,
            "naive",
            "rest-batch",
        ),
        Row(
            "grpc-batch",
            "gRPC BatchProduce of 100, 16 in flight",
            "grpc",
            BATCH_PRODUCE,
            100,
            16,
            ("empty_grpc",),
            2.5,
            "empty_grpc",
            "grpc-one",
        ),
    )
}


@dataclass(frozen=True)
class Sample:
    """One round of a row on a system: calls and events a second, and microseconds of CPU a call.

    `cpu` is by process, with the broker's; `threads` by process and name of the threads.
    """

    calls_per_second: float
    events_per_second: float
    cpu: dict[str, float]
    threads: dict[str, dict[str, float]]

    @property
    def call(self) -> float:
        """The microseconds of a call, without the broker's."""
        return sum(value for name, value in self.cpu.items() if name != KAFKA)


def measured(generator: Generator, row: Row, system: System, broker: int, seconds: float) -> Sample:
    """Saturate a system and return what a call cost."""
    pids = {**system.pids, KAFKA: broker}
    outcome, before, after = generator.run(row.load(system, seconds), lambda: cpu_times(pids))
    return sample(row.events, outcome, before, after)


def sample(events: int, outcome: Outcome, before: dict[str, CpuTime], after: dict[str, CpuTime]) -> Sample:
    """Divide what was used between two readings by the calls."""
    used = {name: after[name].since(before[name]) for name in after}
    scale = 1_000 * outcome.completed
    return Sample(
        outcome.completed / outcome.seconds,
        outcome.completed * events / outcome.seconds,
        {name: each.total / scale for name, each in used.items()},
        {name: {thread: spent / scale for thread, spent in each.threads.items()} for name, each in used.items()},
    )


def middle(samples: Sequence[Sample]) -> Sample:
    """Return the median of each figure over the rounds."""

    def of(values: Sequence[dict[str, float]]) -> dict[str, float]:
        return {name: median(each.get(name, 0.0) for each in values) for name in values[0]}

    return Sample(
        median(each.calls_per_second for each in samples),
        median(each.events_per_second for each in samples),
        of([each.cpu for each in samples]),
        {name: of([each.threads[name] for each in samples]) for name in samples[0].threads},
    )
