"""A simulated Kafka that processes one request at a time, as the producer sends them, and what is offered to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from services.ingest.limits.acknowledgements import AckMeter
from services.ingest.limits.event_limit import EventLimit

STEP_SECONDS = 0.001
REQUEST_EVENTS = 10
DEADLINE_SECONDS = 5.0


class Limit(Protocol):
    """What decides whether events are admitted."""

    meter: AckMeter

    def admits(self, events: int) -> bool:
        """Return whether so many more events may be in flight."""


class FixedLimit:
    """A queue of a fixed number of events, as the producer's."""

    def __init__(self, events_max: int) -> None:
        self.meter = AckMeter()
        self._events_max = events_max

    def admits(self, events: int) -> bool:
        """Return whether the queue has room."""
        return self.meter.in_flight + events <= self._events_max


class AdaptiveLimit:
    """The limit of the product."""

    def __init__(self, events_min: int = 200, events_max: int = 200_000, seconds_target: float = 0.25) -> None:
        self.limit = EventLimit(events_min, events_max, seconds_target)
        self.meter = AckMeter(self.limit.update, self.limit.stall)

    def admits(self, events: int) -> bool:
        """Return whether the limit has room; a request that finds nothing in flight is admitted."""
        if not self.meter.in_flight or self.meter.in_flight + events <= self.limit.value:
            return True
        self.limit.is_pressed = True
        return False


@dataclass
class Outcome:
    """What happened to the requests: for each admitted one when it was acknowledged, and its wait."""

    acknowledged: list[tuple[float, float]] = field(default_factory=list)
    in_flight_max: int = 0

    def goodput(self, start: float, end: float) -> float:
        """Return the events a second that were acknowledged before their deadlines, in a time."""
        good = sum(start <= at < end and wait < DEADLINE_SECONDS for at, wait in self.acknowledged)
        return good * REQUEST_EVENTS / (end - start)

    def late(self) -> int:
        """Return how many events were acknowledged after their deadlines."""
        return sum(wait >= DEADLINE_SECONDS for _, wait in self.acknowledged) * REQUEST_EVENTS

    def wait(self, share: float, start: float, end: float) -> float:
        """Return the wait that this share of the requests did not exceed."""
        waits = sorted(wait for at, wait in self.acknowledged if start <= at < end)
        return waits[int(len(waits) * share)]


@dataclass(frozen=True)
class Kafka:
    """The seconds that each request takes, and the events a second in it; both by the time."""

    request_seconds: Callable[[float], float]
    per_second: Callable[[float], float]


def simulate(limit: Limit, offered_per_second: float, kafka: Kafka, seconds: float) -> Outcome:
    """Offer events for some seconds; return the outcome."""
    meter, outcome = limit.meter, Outcome()
    waiting: list[float] = []
    sent: list[float] = []
    answered_at = owed = 0.0
    for step in range(int(seconds / STEP_SECONDS)):
        now = step * STEP_SECONDS
        owed += offered_per_second * STEP_SECONDS
        while owed >= REQUEST_EVENTS:
            owed -= REQUEST_EVENTS
            if limit.admits(REQUEST_EVENTS):
                waiting.append(now)
                meter.handed += REQUEST_EVENTS
                meter.in_flight += REQUEST_EVENTS
        if sent and now >= answered_at:
            outcome.acknowledged += [(now, now - since) for since in sent]
            sent = []
        if not sent and waiting:
            sent, waiting = waiting, []
            answered_at = now + kafka.request_seconds(now) + len(sent) * REQUEST_EVENTS / kafka.per_second(now)
        meter.on_poll((len(sent) + len(waiting)) * REQUEST_EVENTS, now)
        outcome.in_flight_max = max(outcome.in_flight_max, meter.in_flight)
    return outcome
