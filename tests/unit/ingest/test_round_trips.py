"""Where the network is slow more requests are in flight to each broker, and one where it is fast."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from common.kafka_metrics import Statistics
from services.ingest.kafka.producers import BATCH_BYTES_MAX, Producers, Shape
from services.ingest.kafka.reachability import Reachability
from services.ingest.kafka.round_trips import FAST_REPORTS, SLOW_REPORTS, RoundTrips
from services.ingest.kafka.topic_limits import TopicAnswer
from tests.support.fakes.producers import TOPIC, ScriptedProducer

FAST, BETWEEN, SLOW = 0.001, 0.01, 0.1
MICROSECONDS = 1_000_000


class Reachable(ScriptedProducer):
    """A producer whose Kafka answers."""

    def __init__(self) -> None:
        super().__init__(10, BufferError(), failing=lambda _index: False, late=False)

    def list_topics(self, topic: str, timeout: float) -> object:
        """Return the metadata of the topic."""
        assert timeout > 0
        return SimpleNamespace(topics={topic: SimpleNamespace(error=None)})


def report(*seconds: float) -> Statistics:
    """Return statistics with the shortest round trip of each broker; 0 is that of one without a request."""
    brokers = {
        str(number): {"nodeid": number, "rtt": {"cnt": int(each > 0), "min": int(each * MICROSECONDS)}}
        for number, each in enumerate(seconds, 1)
    }
    # A bootstrap connection, which has no requests with events.
    return {"brokers": {**brokers, "bootstrap": {"nodeid": -1, "rtt": {"cnt": 1, "min": MICROSECONDS}}}}


def after(trips: RoundTrips, count: int, *seconds: float) -> int:
    """Return how many requests may be in flight after so many equal reports."""
    for _ in range(count):
        trips.take(report(*seconds))
    return trips.requests


def test_slow_and_fast() -> None:
    """The number changes after some reports in a row, later back than there; in between it stays."""
    trips = RoundTrips(5)
    assert after(trips, SLOW_REPORTS - 1, SLOW) == 1
    assert after(trips, 1, FAST) == 1
    assert after(trips, SLOW_REPORTS - 1, SLOW) == 1
    assert after(trips, 1, SLOW) == 5
    assert after(trips, 1_000, BETWEEN) == 5
    assert after(trips, FAST_REPORTS - 1, FAST) == 5
    assert after(trips, 1, FAST) == 1
    assert after(trips, 1_000, BETWEEN) == 1


def test_reports_without_requests() -> None:
    """A report without a request to any broker neither counts nor begins anew."""
    trips = RoundTrips(5)
    assert after(trips, SLOW_REPORTS - 1, SLOW) == 1
    assert after(trips, 100, 0) == 1
    assert after(trips, 1, SLOW) == 5


def test_slowest_broker() -> None:
    """One broker that is far away is enough."""
    assert after(RoundTrips(5), SLOW_REPORTS, FAST, SLOW, 0) == 5
    assert after(RoundTrips(5), SLOW_REPORTS, FAST, FAST, 0) == 1


def test_limit_of_one() -> None:
    """With a limit of one there is never more than one."""
    assert after(RoundTrips(1), 1_000, SLOW) == 1


@pytest.mark.parametrize("requests", [1, 5])
def test_producer_follows(requests: int) -> None:
    """A check of Kafka replaces the producer when the number has changed, and only then."""
    shapes: list[Shape] = []

    def open_producer(shape: Shape) -> Any:
        shapes.append(shape)
        return Reachable()

    reachability = Reachability(Producers(open_producer), TOPIC, lambda _seconds: TopicAnswer())
    reachability.requests = lambda: requests
    for _ in range(3):
        reachability.check(0.1)
    assert shapes == [Shape(BATCH_BYTES_MAX, each) for each in sorted({1, requests})]
