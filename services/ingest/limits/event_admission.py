"""Admits the events of a request before they are validated, as long as Kafka acknowledges events in time.

While less than half of the limit is used, and Kafka is not late, a request costs two comparisons. Above that each
caller has its share, requests of low priority wait, and a call is refused whose answer would come after its deadline.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from services.ingest.limits.acknowledgements import AckMeter, Window
from services.ingest.limits.caller_shares import Caller, CallerShares
from services.ingest.limits.callers import CallerNames
from services.ingest.limits.event_limit import EventLimit

# A caller below its share may use so many times the limit, which is more than a cut of the limit leaves in flight: what
# such callers ask for together is less than what Kafka takes.
SHARE_HEADROOM = 3.5
# Expected waits from which on the deadlines of calls are checked.
EXPECTED_SECONDS_MIN = 0.05
# How often a call is admitted although its answer seems late.
PROBE_SECONDS = 0.1
# The rate of acknowledgements is averaged over so much time in which events are in flight.
RATE_SECONDS = 1.0
# Bounds of a computed retry delay; each is prolonged by a random part, so that clients spread.
RETRY_SECONDS_MIN, RETRY_SECONDS_MAX = 0.05, 30.0
RETRY_SPREAD = 0.5
# For so long after half of the limit was used, what callers ask for is counted in every case.
TIGHT_SECONDS = 1.0
LATE = "Kafka is late, and the call would be answered after its deadline; retry later"
SHARE_USED = "this caller has its share of the events that Kafka takes at present, retry later"


class Asking(Protocol):
    """What is needed of a call, each only if the limit is nearly reached."""

    @property
    def is_low_priority(self) -> bool:
        """Whether the events can wait."""

    def caller(self, names: CallerNames) -> str:
        """Return the name of the caller."""

    def seconds_left(self) -> float:
        """Return the time until the deadline of the call, infinite if there is none."""


class ShedError(Exception):
    """The events of a request are refused at present; the text is for the client."""

    def __init__(self, text: str, retry_seconds: float, *, is_share: bool = False) -> None:
        """`is_share`: the caller has its share, while others may send."""
        super().__init__(text)
        self.retry_seconds = retry_seconds
        self.is_share = is_share


@dataclass
class Shed:
    """Events that were refused, by the reason."""

    # The limit of events in flight; a caller that asks for much more than others and has its share; the low priority of
    # the call; its deadline.
    limit: int = 0
    caller: int = 0
    priority: int = 0
    deadline: int = 0


class EventAdmission:
    """Admits events; `meter` counts those in flight, for the publisher and for the requests."""

    def __init__(
        self,
        events_min: int,
        events_max: int,
        seconds_target: float,
        retry_seconds: float,
        names: CallerNames,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`retry_seconds` is the retry delay of which nothing is measured yet."""
        self.event_limit = EventLimit(events_min, events_max, seconds_target)
        self.meter = AckMeter(self._on_window, self._on_stall)
        self.shares = CallerShares()
        self.shed = Shed()
        # Acknowledged events per second while events are in flight; 0 before the first measurement.
        self.acknowledged_per_second = 0.0
        self._fallback_seconds = retry_seconds
        self._names = names
        self._clock = clock
        self._half = int(self.event_limit.value / 2)
        self._tight_until, self._probe_at = 0.0, -math.inf
        self._is_tight = False

    @property
    def limit(self) -> int:
        """The events that may be in flight at present."""
        return int(self.event_limit.value)

    @property
    def in_flight(self) -> int:
        """The events in flight."""
        return self.meter.in_flight

    def check(self, events: int, call: Asking) -> None:
        """Raise ShedError if the events of a call are refused at present."""
        meter = self.meter
        in_use = meter.in_flight + events
        if in_use <= self._half and meter.expected_seconds < EXPECTED_SECONDS_MIN and not self._is_tight:
            return
        # A request that finds nothing else in flight is always admitted: otherwise a large one might never be.
        if in_use > events:
            self._check(events, in_use, call)

    def _check(self, events: int, in_use: int, call: Asking) -> None:
        expected_seconds, now = self.meter.expected_seconds, self._clock()
        if expected_seconds >= EXPECTED_SECONDS_MIN and call.seconds_left() < expected_seconds:
            self._check_probe(events, now)
        is_above_half = in_use > self._half
        if is_above_half:
            if not self._is_tight:
                self.shares.begin(now)
            self._is_tight, self._tight_until = True, now + TIGHT_SECONDS
        elif not self._is_tight:
            return
        caller = self.shares.find(call.caller(self._names), events, now)
        if not is_above_half:
            return
        self._check_limits(caller, events, in_use, is_low_priority=call.is_low_priority)
        caller.debt += events

    def _check_probe(self, events: int, now: float) -> None:
        """Refuse a call that seems late, except for one now and then.

        Otherwise nothing would show that Kafka acknowledges other events than the one that waits for longest.
        """
        is_probe = self._probe_at <= now < self._probe_at + TIGHT_SECONDS
        if is_probe or now >= self._probe_at:
            self._probe_at = now + PROBE_SECONDS
        if not is_probe:
            self.shed.deadline += events
            raise ShedError(LATE, self.retry_seconds())

    def _check_limits(self, caller: Caller, events: int, in_use: int, *, is_low_priority: bool) -> None:
        """Raise ShedError if a caller has its share, or the limit has no room."""
        limit, is_below_share = self.event_limit.value, self.shares.is_below_share(caller)
        if is_low_priority:
            limit = self._half
        elif is_below_share:
            limit *= SHARE_HEADROOM
        # A large request counts as half of the limit at most: it would otherwise wait until nothing else is in flight.
        is_full = in_use - events + min(events, limit / 2) > limit
        self.event_limit.is_pressed |= is_full and not is_low_priority
        is_share = self.shares.has_share(caller) or (is_full and self.shares.are_known and not is_below_share)
        if not is_full and not is_share:
            return
        if is_low_priority:
            self.shed.priority += events
        elif is_share and caller.is_heavy:
            self.shed.caller += events
        else:
            self.shed.limit += events
        text = SHARE_USED if is_share else f"{in_use - events} events wait for Kafka, retry later"
        raise ShedError(text, self.retry_seconds(), is_share=is_share)

    def retry_seconds(self) -> float:
        """Return a retry delay: the time until what is in flight is acknowledged, differently for each client."""
        if not self.acknowledged_per_second:
            return self._fallback_seconds
        seconds = self.meter.in_flight / self.acknowledged_per_second
        bounded = max(RETRY_SECONDS_MIN, min(seconds, RETRY_SECONDS_MAX))
        return bounded * (1 + RETRY_SPREAD * random.random())  # noqa: S311 -- no secret

    def _on_stall(self, seconds: float, in_flight: int) -> None:
        """Take that nothing was acknowledged for long."""
        self.event_limit.stall(seconds, in_flight)
        self._half = int(self.event_limit.value / 2)

    def _on_window(self, window: Window) -> None:
        """Take what was measured over a short time."""
        self.event_limit.update(window)
        self._half = int(self.event_limit.value / 2)
        if window.busy_seconds:
            part = min(1.0, window.busy_seconds / RATE_SECONDS)
            rate = window.acknowledged / window.busy_seconds
            self.acknowledged_per_second += (rate - self.acknowledged_per_second) * (
                part if self.acknowledged_per_second else 1.0
            )
        if self._is_tight:
            self._is_tight = window.at < self._tight_until
            self.shares.compute(self.acknowledged_per_second, window.at)
