"""The results of the scenarios, one JSON object a line; tests/cluster/table.py makes a page of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from local.settings import ROOT

RESULTS = ROOT / ".local" / "cluster-results.jsonl"


@dataclass(frozen=True)
class Result:
    """What a scenario showed. Seconds are counted from the fault; None where rows were never late.

    `lost` and `doubled` are -1 where the scenario failed before the rows were counted.
    """

    scenario: str
    acknowledged: int
    lost: int
    doubled: int
    failed_calls: int
    error_seconds: float
    silent_seconds: float
    late_until_seconds: float | None
    worst_delay_seconds: float
    heal_seconds: float | None
    breaches: tuple[str, ...] = ()
    failure: str = ""

    @property
    def is_judged(self) -> bool:
        """Whether the scenario came to its end, so that the rows were counted."""
        return self.lost >= 0


def record(result: Result, path: Path = RESULTS) -> None:
    """Append a result."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(result)) + "\n")


def read(path: Path = RESULTS) -> Iterator[Result]:
    """Yield the results in their order; none if nothing was recorded."""
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        fields = json.loads(line)
        yield Result(**{**fields, "breaches": tuple(fields["breaches"])})
