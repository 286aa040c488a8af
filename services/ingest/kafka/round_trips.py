"""How many requests may be in flight to each broker, by how long the network takes. Pure.

One request at a time costs the least CPU. Where a round trip is long, a broker would then take few requests a second,
each of one partition.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ONE = 1
# The shortest round trip of a second above which the network is slow, and below which it is fast.
SLOW_SECONDS, FAST_SECONDS = 0.02, 0.005
# Reports of statistics in a row after which the number changes. Each change opens another producer.
SLOW_REPORTS, FAST_REPORTS = 3, 60
MICROSECONDS = 1e-6


class RoundTrips:
    """Follows the statistics of Kafka's client, which come once a second."""

    def __init__(self, requests_max: int) -> None:
        self._requests_max = requests_max
        # How many requests may be in flight to each broker.
        self.requests = ONE
        self._reports = 0

    def take(self, statistics: Mapping[str, Any]) -> None:
        """Take over a report; one without a request changes nothing."""
        # The shortest is that of the network: others waited for Kafka too.
        trips = [each["rtt"] for each in statistics["brokers"].values() if each["nodeid"] >= 0 and each["rtt"]["cnt"]]
        if not trips:
            return
        seconds = max(trip["min"] for trip in trips) * MICROSECONDS
        is_one = self.requests == ONE
        is_other = seconds > SLOW_SECONDS if is_one else seconds < FAST_SECONDS
        self._reports = self._reports + 1 if is_other else 0
        if self._reports == (SLOW_REPORTS if is_one else FAST_REPORTS):
            self._reports = 0
            self.requests = self._requests_max if is_one else ONE
