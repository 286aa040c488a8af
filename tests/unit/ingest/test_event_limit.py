"""The limit of events in flight against a simulated Kafka that becomes slow and recovers."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.fakes.slow_kafka import AdaptiveLimit, FixedLimit, Kafka, simulate

SLOW_FROM, SLOW_UNTIL, END = 5.0, 20.0, 26.0
FAST = 100_000.0
QUICK = 0.003


def between(slow: float, otherwise: float) -> Callable[[float], float]:
    """Return a value that holds while Kafka is slow."""
    return lambda now: slow if SLOW_FROM <= now < SLOW_UNTIL else otherwise


@pytest.mark.parametrize(("capacity", "multiple"), [(5_000, 2), (5_000, 5), (2_000, 5), (20_000, 2)])
def test_kafka_takes_fewer(capacity: int, multiple: int) -> None:
    """Nearly all that Kafka takes is acknowledged in time, and nothing after its deadline."""
    kafka = Kafka(lambda _now: QUICK, between(capacity, FAST))
    outcome = simulate(AdaptiveLimit(), capacity * multiple, kafka, END)

    assert outcome.goodput(SLOW_FROM, SLOW_UNTIL) >= 0.9 * capacity
    assert outcome.late() == 0
    assert outcome.wait(0.99, SLOW_FROM, SLOW_UNTIL) < 1.0


def test_fixed_queue_collapses() -> None:
    """A fixed queue fills with events that are acknowledged after their deadlines: less than half is of use."""
    kafka = Kafka(lambda _now: QUICK, between(5_000, FAST))
    outcome = simulate(FixedLimit(200_000), 10_000, kafka, END)

    assert outcome.goodput(SLOW_FROM + 5, SLOW_UNTIL) < 0.5 * 5_000
    assert outcome.late() > 10_000


def test_recovers() -> None:
    """Two seconds after Kafka is fast again, all that is offered is acknowledged, at once."""
    kafka = Kafka(lambda _now: QUICK, between(2_000, FAST))
    outcome = simulate(AdaptiveLimit(), 10_000, kafka, END)

    assert outcome.goodput(SLOW_UNTIL + 2, END - 0.1) >= 0.99 * 10_000
    assert outcome.wait(0.99, SLOW_UNTIL + 2, END) < 0.1


@pytest.mark.parametrize("seconds", [0.25, 0.5])
def test_slow_requests_are_no_queue(seconds: float) -> None:
    """When each request takes long, fewer events in flight would only reduce the rate: the limit is restored."""
    kafka = Kafka(between(seconds, QUICK), lambda _now: FAST)
    limit = AdaptiveLimit()
    outcome = simulate(limit, 5_000, kafka, END)

    assert outcome.goodput(SLOW_FROM + 7, SLOW_UNTIL) >= 0.9 * 5_000
    # The longer wait does not stay the aim.
    assert limit.limit.base_seconds == 0


def test_nothing_is_refused_while_kafka_is_fast() -> None:
    """A load that Kafka takes is never refused, and the limit does not grow beyond what it needs."""
    limit = AdaptiveLimit()
    outcome = simulate(limit, 20_000, Kafka(lambda _now: QUICK, lambda _now: FAST), 5.0)

    assert len(outcome.acknowledged) * 10 >= 0.99 * 100_000
    assert limit.limit.value == 10_000


def test_one_pause_does_not_cut() -> None:
    """A single pause of Kafka leaves the limit as it is."""
    kafka = Kafka(lambda now: 0.3 if 2.0 <= now < 2.003 else QUICK, lambda _now: FAST)
    limit = AdaptiveLimit()
    simulate(limit, 2_000, kafka, 4.0)

    assert limit.limit.value == 10_000


@pytest.mark.parametrize(("low", "high"), [(200, 200_000), (5, 50), (500, 100)])
def test_bounds(low: int, high: int) -> None:
    """The limit stays between its minimum and its maximum, and the maximum wins."""
    limit = AdaptiveLimit(low, high)
    outcome = simulate(limit, 10_000, Kafka(lambda _now: QUICK, between(500, FAST)), END)

    assert min(low, high) <= limit.limit.value <= high
    assert outcome.in_flight_max <= max(high, 10)
