"""The results of fault runs: a JSON object a line, in a file that tests/faults/table.py makes a table of."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from local.settings import ROOT
from tests.support.faults.oracle import Verdict

# The seeds that each fault has, `first-last`; without them the quick subset runs, with seed 0.
CHOSEN = os.environ.get("FAULT_SEEDS")
FIRST, _, LAST = (CHOSEN or "0-0").partition("-")
SEEDS = range(int(FIRST), int(LAST or FIRST) + 1)
IS_QUICK = not CHOSEN
# The table is made of the runs with seeds alone.
RESULTS = ROOT / ".local" / "fault-results.jsonl"
QUICK_RESULTS = ROOT / ".local" / "fault-results-quick.jsonl"


def judged(verdict: Verdict) -> dict[str, Any]:
    """Return a verdict's numbers, and its breaches in words."""
    return {
        "sent": verdict.sent,
        "acknowledged": verdict.acknowledged,
        "stored": verdict.stored,
        "lost": len(verdict.lost),
        "doubled": len(verdict.doubled),
        "strangers": len(verdict.strangers),
        "excused": verdict.excused,
        "audit": list(verdict.breaches),
    }


def record(fault: str, seed: int, seconds: float, numbers: Mapping[str, Any]) -> None:
    """Append a run's result: its numbers, or why it failed before it could be judged."""
    line = {"fault": fault, "seed": seed, **numbers, "seconds": round(seconds, 1)}
    with (QUICK_RESULTS if IS_QUICK else RESULTS).open("a") as file:
        file.write(json.dumps(line) + "\n")
