"""The meter of acknowledgements: waits, rates, and what is in flight, by the polls alone."""

from __future__ import annotations

import random

import pytest

from services.ingest.limits.acknowledgements import STALLED_SECONDS, AckMeter, Window


class Measured:
    """A meter, and the windows and stalls that it reported."""

    def __init__(self) -> None:
        self.windows: list[Window] = []
        self.stalls: list[tuple[float, int]] = []
        self.meter = AckMeter(self.windows.append, lambda seconds, left: self.stalls.append((seconds, left)))
        self.now = 0.0

    def hand(self, events: int) -> None:
        """Hand events over."""
        self.meter.handed += events
        self.meter.in_flight += events

    def poll(self, unacknowledged: int, seconds: float = 0.005) -> None:
        """Let time pass, and poll."""
        self.now += seconds
        self.meter.on_poll(unacknowledged, self.now)


def test_wait_is_that_of_each_event() -> None:
    """Events that wait 40 ms in turn are measured so, within the time between two notes."""
    measured, in_flight = Measured(), list[int]()
    for _ in range(100):
        measured.hand(10)
        in_flight.append(10)
        if len(in_flight) > 8:
            in_flight.pop(0)
        measured.poll(sum(in_flight))

    assert len(measured.windows) > 5
    assert measured.windows[-1].latency == pytest.approx(0.040, abs=0.006)
    assert sum(each.acknowledged for each in measured.windows) / measured.now == pytest.approx(2_000, rel=0.2)


def test_rare_acknowledgements_are_measured_exactly() -> None:
    """Where Kafka acknowledges many events at once and rarely, a window ends with them: the rate is that of Kafka."""
    measured = Measured()
    for _ in range(5):
        measured.hand(1_000)
        for _ in range(49):
            measured.poll(1_000, 0.01)
        measured.poll(0, 0.01)

    assert [each.acknowledged for each in measured.windows] == [1_000] * 5
    assert [each.latency for each in measured.windows] == pytest.approx([0.49] * 5, abs=0.01)
    assert [each.acknowledged / each.seconds for each in measured.windows] == pytest.approx([2_000] * 5, rel=0.05)


def test_stall() -> None:
    """While nothing is acknowledged, the expected wait grows with the age of the oldest event; stalls are reported."""
    measured = Measured()
    measured.hand(5)
    while measured.now < 2.9 * STALLED_SECONDS:
        measured.poll(5)

    assert measured.meter.expected_seconds == pytest.approx(measured.now, abs=0.1)
    assert [seconds for seconds, _ in measured.stalls] == pytest.approx(
        [STALLED_SECONDS, 2 * STALLED_SECONDS], abs=0.01
    )
    assert {in_flight for _, in_flight in measured.stalls} == {5}
    assert measured.windows == []
    measured.poll(0)
    measured.poll(0, 1.0)
    measured.poll(0, 1.0)
    assert measured.meter.expected_seconds == 0


def test_idle_time_is_no_wait() -> None:
    """The time in which nothing is in flight is in no figure."""
    measured = Measured()
    for _ in range(10):
        measured.poll(0, 10.0)
        measured.hand(1)
        measured.poll(1, 0.002)
        measured.poll(0, 0.06)

    assert all(each.latency < 0.07 for each in measured.windows)
    assert all(each.busy_seconds < 0.07 for each in measured.windows)


def test_counts_end_at_nothing() -> None:
    """Whatever is reserved, handed over, cancelled and acknowledged, in the end nothing is in flight."""
    chance, measured = random.Random(1), Measured()
    meter, producer, reserved = measured.meter, 0, 0
    for _ in range(5_000):
        match chance.randrange(4):
            case 0:
                meter.reserve(number := chance.randrange(1, 100))
                reserved += number
            case 1:
                meter.hand_over(number := chance.randint(0, reserved))
                reserved, producer = reserved - number, producer + number
            case 2:
                meter.cancel(number := chance.randint(0, reserved))
                reserved -= number
            case 3:
                producer = chance.randint(0, producer)
                measured.poll(producer)
        assert meter.in_flight >= reserved >= 0
    meter.cancel(reserved)
    measured.poll(0)

    assert (meter.in_flight, meter.pending) == (0, 0)
