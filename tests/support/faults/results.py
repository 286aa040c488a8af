"""The results of fault runs, one JSON object per line; tests/faults/table.py makes a page of them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from local.settings import ROOT
from tests.support.faults.oracle import Verdict

# The seeds, `first-last`; without them the quick subset runs, with seed 0.
CHOSEN = os.environ.get("FAULT_SEEDS")
FIRST, _, LAST = (CHOSEN or "0-0").partition("-")
SEEDS = range(int(FIRST), int(LAST or FIRST) + 1)
IS_QUICK = not CHOSEN
# The page is made of the runs with FAULT_SEEDS only.
RESULTS = ROOT / ".local" / "fault-results.jsonl"
QUICK_RESULTS = ROOT / ".local" / "fault-results-quick.jsonl"


def judged(verdict: Verdict) -> dict[str, Any]:
    """Return the numbers of a verdict, and the texts of its breaches."""
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
    """Append the result of a run: its numbers, or why it failed before it was judged."""
    line = {"fault": fault, "seed": seed, **numbers, "seconds": round(seconds, 1)}
    with (QUICK_RESULTS if IS_QUICK else RESULTS).open("a") as file:
        file.write(json.dumps(line) + "\n")
