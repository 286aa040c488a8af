"""When the requests of an open loop are due, and the percentiles of their latencies."""

from __future__ import annotations

import random
from collections.abc import Sequence

SPREAD = 0.25


def spaced(per_second: float, seconds: float, seed: int) -> list[float]:
    """Return due times in seconds from the start: evenly spaced, each moved by at most a quarter of the space.

    A fixed period could stay in step with a period of the server, such as the linger of a producer.
    """
    chance, space = random.Random(seed), 1 / per_second
    return [(number + chance.uniform(-SPREAD, SPREAD)) * space for number in range(1, int(per_second * seconds) + 1)]


def poisson(per_second: float, seconds: float, seed: int) -> list[float]:
    """Return due times in seconds from the start, of clients that do not wait for one another."""
    chance, due, found = random.Random(seed), 0.0, list[float]()
    while (due := due + chance.expovariate(per_second)) < seconds:
        found.append(due)
    return found


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least this share of the values does not exceed."""
    if not values:
        raise ValueError("there are no values")
    ordered = sorted(values)
    # Without the rounding, 0.99 * 100 would be above 99.
    return ordered[max(0, -int(-round(share * len(ordered), 9) // 1) - 1)]
