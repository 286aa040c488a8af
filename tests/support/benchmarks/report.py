"""What a benchmark found, in the form that all benchmarks share: figures, and their comparisons with the aims.

A run writes it as JSON to .local/bench/results; `make bench KEEP=1` copies it to tests/benchmarks/results, from where
docs/generate.py makes the page of the costs.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from local.settings import ROOT
from tests.support.benchmarks.machine import Machine, this_machine

RESULTS = ROOT / ".local" / "bench" / "results"
KEPT = ROOT / "tests" / "benchmarks" / "results"
THIS_PROJECT = "this project"
# What rounding would hide is not measured either.
DIGITS = 5


@dataclass(frozen=True)
class Figure:
    """A quantity of a row of a table, with its value in each round.

    `parts` has the medians of what it consists of, such as processes, and `details` those of their parts.
    """

    row: str
    system: str
    quantity: str
    unit: str
    values: tuple[float, ...]
    parts: dict[str, float] = field(default_factory=dict)
    details: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def median(self) -> float:
        """The median of the rounds."""
        return median(self.values)


@dataclass(frozen=True)
class Comparison:
    """A value beside that of a peer, and the aim for their ratio; `higher` when a higher ratio is better."""

    title: str
    system: str
    unit: str
    value: float
    beside: str
    beside_value: float
    aim: float | None = None
    higher: bool = False

    @property
    def ratio(self) -> float:
        """The value over the peer's."""
        return self.value / self.beside_value

    @property
    def is_met(self) -> bool | None:
        """Whether the aim is met; None without an aim."""
        if self.aim is None:
            return None
        return self.ratio >= self.aim if self.higher else self.ratio <= self.aim


@dataclass(frozen=True)
class Report:
    """All of one run of one benchmark; `titles` explain the names of rows and systems."""

    benchmark: str
    machine: Machine
    options: dict[str, str]
    began: str
    seconds: float
    figures: tuple[Figure, ...]
    comparisons: tuple[Comparison, ...] = ()
    titles: dict[str, str] = field(default_factory=dict)

    def write(self, folder: Path = RESULTS) -> Path:
        """Write the report, in the place of that of an earlier run."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.benchmark}.json"
        path.write_text(json.dumps(rounded(asdict(self)), indent=1) + "\n", encoding="utf-8")
        return path


def read(path: Path) -> Report:
    """Read a report."""
    found = json.loads(path.read_text(encoding="utf-8"))
    return Report(
        benchmark=found["benchmark"],
        machine=Machine(**found["machine"]),
        options=found["options"],
        began=found["began"],
        seconds=found["seconds"],
        figures=tuple(Figure(**{**each, "values": tuple(each["values"])}) for each in found["figures"]),
        comparisons=tuple(Comparison(**each) for each in found["comparisons"]),
        titles=found["titles"],
    )


class Run:
    """A run of a benchmark that has begun."""

    def __init__(self, benchmark: str) -> None:
        self._benchmark = benchmark
        self._began = datetime.now(UTC)
        self._clock = time.monotonic()

    def end(
        self,
        figures: Iterable[Figure],
        comparisons: Iterable[Comparison] = (),
        titles: Mapping[str, str] | None = None,
        options: Mapping[str, object] | None = None,
    ) -> Report:
        """Write the report of the run and return it."""
        report = Report(
            benchmark=self._benchmark,
            machine=this_machine(),
            options={name: str(value) for name, value in (options or {}).items()},
            began=self._began.isoformat(timespec="seconds"),
            seconds=time.monotonic() - self._clock,
            figures=tuple(figures),
            comparisons=tuple(comparisons),
            titles=dict(titles or {}),
        )
        report.write()
        return report


def rounded(value: object) -> object:
    """Return a value with its numbers in few digits, so that files of results stay readable."""
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, dict):
        return {name: rounded(each) for name, each in value.items()}
    return [rounded(each) for each in value] if isinstance(value, (list, tuple)) else value
