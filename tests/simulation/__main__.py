"""`python -m tests.simulation`: many runs and what happened in them, or one run step by step."""

from __future__ import annotations

import argparse
import sys

from tests.simulation.controls import CONTROLS
from tests.simulation.member import PROTOCOL
from tests.simulation.runs import in_parallel, report, simulate_all, traced

VARIANTS = {variant.name: variant for variant in (PROTOCOL, *CONTROLS)}


def main() -> int:
    """Run what was asked for; 1 when the oracle finds fault."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1_000, help="how many runs")
    parser.add_argument("--first", type=int, default=0, help="the first of their seeds")
    parser.add_argument("--seed", type=int, help="one run alone")
    parser.add_argument("--trace", action="store_true", help="show the one run step by step")
    parser.add_argument("--variant", choices=VARIANTS, default=PROTOCOL.name, help="a negative control instead")
    asked = parser.parse_args()
    variant = VARIANTS[asked.variant]
    if asked.seed is None:
        return report(in_parallel(range(asked.first, asked.first + asked.seeds), variant), variant)
    if asked.trace:
        return report([traced(asked.seed, variant)], variant)
    return report(simulate_all([asked.seed], variant), variant)


if __name__ == "__main__":
    sys.exit(main())
