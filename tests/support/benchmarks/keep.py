"""Keeps results of a run: `python -m tests.support.benchmarks.keep NAME...` copies them to where git tracks them."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

from tests.support.benchmarks.report import KEPT, RESULTS


def keep(names: Iterable[str], results: Path = RESULTS, kept: Path = KEPT) -> list[Path]:
    """Copy the reports of these benchmarks, in the place of those that were kept before; return the copies."""
    kept.mkdir(parents=True, exist_ok=True)
    return [Path(shutil.copyfile(results / f"{name}.json", kept / f"{name}.json")) for name in names]


if __name__ == "__main__":
    keep(sys.argv[1:])
