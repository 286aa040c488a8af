"""`python -m tests.simulation`: many runs and their totals, or one run step by step."""

from __future__ import annotations

import argparse
import sys

from tests.simulation.controls import CONTROLS
from tests.simulation.member import PROTOCOL
from tests.simulation.runs import in_parallel, report, simulate_all, traced

VARIANTS = {variant.name: variant for variant in (PROTOCOL, *CONTROLS)}


def main() -> int:
    """Run the seeds of the command line; returns 1 if the oracle finds a violation."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1_000, help="the number of runs")
    parser.add_argument("--first", type=int, default=0, help="their first seed")
    parser.add_argument("--seed", type=int, help="run this seed only")
    parser.add_argument("--trace", action="store_true", help="print the run of --seed step by step")
    parser.add_argument(
        "--variant", choices=VARIANTS, default=PROTOCOL.name, help="a negative control, or the protocol"
    )
    options = parser.parse_args()
    variant = VARIANTS[options.variant]
    if options.seed is None:
        return report(in_parallel(range(options.first, options.first + options.seeds), variant), variant)
    if options.trace:
        return report([traced(options.seed, variant)], variant)
    return report(simulate_all([options.seed], variant), variant)


if __name__ == "__main__":
    sys.exit(main())
