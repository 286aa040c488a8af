"""Deadlines are made of ClickHouse's time, carried on by this machine's monotonic clock."""

from __future__ import annotations

from etl.clock import ServerClock


class Time:
    """A monotonic clock that a test sets, in seconds."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def test_deadline() -> None:
    """A deadline is the fence ahead of what ClickHouse said, and moves with the time since."""
    time = Time()
    clock = ServerClock(5.0, time)
    clock.sync(1_790_000_000_000)
    time.seconds += 1.5

    assert clock.deadline() == 1_790_000_006_500


def test_sync_again() -> None:
    """ClickHouse's last word counts, in either direction."""
    clock = ServerClock(5.0, Time())
    clock.sync(1_790_000_000_000)
    clock.sync(1_780_000_000_000)

    assert clock.deadline() == 1_780_000_005_000


def test_near() -> None:
    """A deadline is near when more than half of the fence has passed since it was made."""
    time = Time()
    clock = ServerClock(5.0, time)
    clock.sync(1_790_000_000_000)
    deadline = clock.deadline()
    time.seconds += 2.5

    assert not clock.is_near(deadline)

    time.seconds += 0.1

    assert clock.is_near(deadline)
