"""What a benchmark found, in the form that all benchmarks share: figures, and their comparisons with the aims.

A run writes it as JSON to .local/bench/results; `make bench KEEP=1` copies it to tests/benchmarks/results, from where
docs/generate.py makes the page of the costs.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

from local.settings import ROOT
from tests.support.benchmarks.machine import Machine

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
    """All of one run of one benchmark."""

    benchmark: str
    machine: Machine
    options: dict[str, str]
    began: str
    seconds: float
    figures: tuple[Figure, ...]
    comparisons: tuple[Comparison, ...]

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
    )


def rounded(value: object) -> object:
    """Return a value with its numbers in few digits, so that files of results stay readable."""
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, dict):
        return {name: rounded(each) for name, each in value.items()}
    return [rounded(each) for each in value] if isinstance(value, (list, tuple)) else value
