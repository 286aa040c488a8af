"""Admission of events: which calls are refused, why, and with which delay."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass, replace

import pytest

from common.networks import LOOPBACK
from services.ingest.limits.callers import CallerNames
from services.ingest.limits.event_admission import EventAdmission, Shed, ShedError

EVENTS_MAX = 1_000
FALLBACK_SECONDS = 7.0
RATE = 500.0


@dataclass
class Asked:
    """A call that asks for admission."""

    name: str = "one"
    is_low_priority: bool = False
    left: float = math.inf

    def caller(self, _names: CallerNames) -> str:
        """Return the name of the caller."""
        return self.name

    def seconds_left(self) -> float:
        """Return the time until the deadline."""
        return self.left


class Admitting:
    """An admission, and a Kafka that acknowledges what the test wants."""

    def __init__(self, events_min: int = 10) -> None:
        self.now = 0.0
        self.admission = EventAdmission(
            events_min, EVENTS_MAX, 0.25, FALLBACK_SECONDS, CallerNames(LOOPBACK), lambda: self.now
        )

    def ask(self, events: int, call: Asked | None = None) -> None:
        """Ask for admission, and hand the events over if they are admitted."""
        self.admission.check(events, call or Asked())
        self.admission.meter.handed += events
        self.admission.meter.in_flight += events

    def acknowledge(self, events: int, seconds: float) -> None:
        """Let Kafka acknowledge so many events in some seconds."""
        meter, steps = self.admission.meter, max(1, round(seconds / 0.01))
        left = meter.in_flight
        for step in range(1, steps + 1):
            self.now += seconds / steps
            meter.on_poll(left - events * step // steps, self.now)


def refusal(admitting: Admitting, events: int, call: Asked | None = None) -> ShedError:
    """Return the refusal of a call."""
    with pytest.raises(ShedError) as caught:
        admitting.ask(events, call)
    return caught.value


def test_full() -> None:
    """Events beyond the limit are refused, and are admitted again once others are acknowledged."""
    admitting = Admitting()
    admitting.ask(600)
    admitting.ask(400)
    refused = refusal(admitting, 1)

    assert (refused.is_share, str(refused)) == (False, "1000 events wait for Kafka, retry later")
    assert admitting.admission.shed.limit == 1
    admitting.acknowledge(500, 0.1)
    admitting.ask(500)


def test_nothing_else_in_flight() -> None:
    """A request is admitted whatever its size when it finds nothing in flight, and only then."""
    admitting = Admitting()
    admitting.ask(10 * EVENTS_MAX)
    assert refusal(admitting, 10)
    admitting.acknowledge(10 * EVENTS_MAX, 1.0)
    # Even one whose deadline is earlier than what the events before had to wait.
    assert admitting.admission.meter.expected_seconds > 0.1
    admitting.ask(10 * EVENTS_MAX, Asked(is_low_priority=True, left=0.001))


def test_low_priority() -> None:
    """Requests of low priority have the lower half of the limit."""
    admitting = Admitting()
    admitting.ask(499)
    admitting.ask(1, Asked(is_low_priority=True))
    refused = refusal(admitting, 1, Asked(is_low_priority=True))

    assert not refused.is_share
    assert admitting.admission.shed == Shed(priority=1)
    admitting.ask(500)


@pytest.mark.parametrize("is_low_priority", [False, True])
def test_large_request_among_small_ones(*, is_low_priority: bool) -> None:
    """A request as large as the limit is admitted while others use little of it, and not while they use most."""
    admitting = Admitting()
    admitting.ask(3)
    admitting.ask(EVENTS_MAX, Asked(is_low_priority=is_low_priority))
    admitting.acknowledge(3, 0.001)

    assert refusal(admitting, EVENTS_MAX, Asked(is_low_priority=is_low_priority))


def test_retry_delay() -> None:
    """The delay is that of the settings at first, then what is in flight divided by the rate, and up to half more."""
    admitting = Admitting()
    admitting.ask(1_000)
    assert refusal(admitting, 1).retry_seconds == FALLBACK_SECONDS
    admitting.acknowledge(100, 0.2)
    assert admitting.admission.acknowledged_per_second == pytest.approx(RATE, rel=0.1)
    delays = [refusal(admitting, 10_000).retry_seconds for _ in range(100)]

    assert 0.9 * 900 / RATE <= min(delays) < max(delays) <= 1.1 * 1.5 * 900 / RATE
    assert len(set(delays)) > 90


def test_retry_delay_is_bounded() -> None:
    """However many events are in flight, the delay is at most 45 seconds, and never below 50 milliseconds."""
    admitting = Admitting()
    admitting.ask(10_000)
    admitting.acknowledge(10, 0.2)
    assert 30 <= refusal(admitting, 1).retry_seconds <= 45
    admitting.acknowledge(9_989, 0.1)
    assert 0.05 <= admitting.admission.retry_seconds() <= 0.075


def test_deadline() -> None:
    """A call whose deadline comes before the expected answer is refused at once; one with more time is not."""
    admitting = Admitting(EVENTS_MAX)
    admitting.ask(100)
    admitting.acknowledge(50, 0.4)
    assert admitting.admission.meter.expected_seconds > 0.05
    refused = refusal(admitting, 3, Asked(left=0.05))

    assert not refused.is_share
    assert admitting.admission.shed.deadline == 3
    admitting.ask(3, Asked(left=5.0))


def test_one_event_that_waits() -> None:
    """One event that Kafka does not acknowledge keeps no other one from Kafka for longer than half a second."""
    admitting, call, refused_at = Admitting(), Asked(left=1.0), []
    admitting.ask(1)
    admitting.acknowledge(0, 2.0)
    began = admitting.now
    while admitting.now < began + 5.0:
        try:
            admitting.ask(1, call)
        except ShedError:
            refused_at.append(admitting.now - began)
        admitting.acknowledge(admitting.admission.in_flight - 1, 0.01)

    assert 0 < refused_at[-1] < 0.5


def test_deadlines_are_not_checked_while_kafka_is_fast() -> None:
    """A call with little time is admitted while Kafka answers within milliseconds."""
    admitting = Admitting()
    for _ in range(10):
        admitting.ask(10)
        admitting.acknowledge(10, 0.02)
    admitting.ask(1)
    admitting.ask(1, Asked(left=0.03))


def test_callers() -> None:
    """Of two callers above half of the limit the one beyond its share is refused as such; the other one is served."""
    admitting, counts = Admitting(), {"large": 0, "small": 0}
    refused_by_share: set[str] = set()
    for step in range(4_000):
        for name, events in (("large", 10), ("small", 2 if step % 10 == 0 else 0)):
            try:
                if events:
                    admitting.ask(events, Asked(name))
                    counts[name] += events
            except ShedError as error:
                refused_by_share |= {name} if error.is_share else set()
        admitting.acknowledge(min(5, admitting.admission.in_flight), 0.001)

    assert refused_by_share == {"large"}
    assert counts["small"] >= 0.97 * 800
    assert admitting.admission.shed.caller > 1_000


def shed_of_two(*, is_low_priority: bool) -> tuple[Shed, Shed]:
    """Let two callers ask for the same rate, of which Kafka takes a quarter; return what was shed before and after."""
    admitting, before = Admitting(), Shed()
    for step in range(4_000):
        for name in ("one", "other"):
            with contextlib.suppress(ShedError):
                admitting.ask(10, Asked(name, is_low_priority))
        admitting.acknowledge(min(5, admitting.admission.in_flight), 0.001)
        if step == 2_000:
            before = replace(admitting.admission.shed)
    return before, admitting.admission.shed


def test_all_callers() -> None:
    """While Kafka takes less than all callers ask for alike, the reason is the limit, not a caller."""
    before, shed = shed_of_two(is_low_priority=False)

    assert shed.limit > before.limit + 10_000
    assert shed == Shed(limit=shed.limit)


def test_callers_of_low_priority() -> None:
    """Refused events of low priority have this reason, also beyond the share of their caller."""
    before, shed = shed_of_two(is_low_priority=True)

    assert shed.priority > before.priority + 10_000
    assert shed == Shed(priority=shed.priority)


def test_count_of_refused_events() -> None:
    """What is refused is counted in events."""
    admitting = Admitting()
    admitting.ask(EVENTS_MAX)
    for events in (1, 20, 300):
        refusal(admitting, events)

    assert admitting.admission.shed.limit == 321
    assert admitting.admission.limit == EVENTS_MAX
