"""The limit of events in flight: grows while Kafka acknowledges in time, and is cut when it is late (AIMD). Pure.

Kafka is late for two reasons, with opposite remedies. When it takes fewer events a second than are offered, events
queue, and a lower limit shortens the wait without a loss. When each of its requests takes long, as over a slow network,
a lower limit only reduces the rate. A cut shows which it is: if fewer events in flight wait as long as before, the wait
is not a queue. It is then added to the target, and the limit from before the cut is restored.
"""

from __future__ import annotations

from typing import NamedTuple

from services.ingest.limits.acknowledgements import Window

# The limit of a process that has measured nothing: a largest batch.
START_EVENTS = 10_000
# A wait by which nothing is divided.
QUICK_SECONDS = 0.001
# How the limit grows in a window in which more than half of it was used: by a factor until the first cut, then slowly.
CLIMB, GROWTH_FACTOR, GROWTH_EVENTS = 2.0, 1.1, 50
# How it returns to START_EVENTS while less than a quarter is used.
DECAY = 0.98
# Events in flight that are no reason to refuse others after a single late window.
HELD_EVENTS_MIN = 500
# The least and the largest part of the events in flight that a cut leaves, and the part of the target at which it aims.
# A cut to more than half would not show whether the rate follows it.
CUT_MIN, CUT_MAX, CUT_AIM = 0.3, 0.4, 0.9
# The longest wait that is taken for other than a queue; how much longer waits may be, as they differ; and the part of
# the difference by which it follows shorter ones.
BASE_SECONDS_MAX, BASE_FACTOR, BASE_DECAY = 3.0, 1.5, 0.2


class Cut(NamedTuple):
    """The rate of acknowledgements before a cut, and the part that it left."""

    rate: float
    part: float


class EventLimit:
    """The number of events that may be in flight; `update` changes it after each window."""

    def __init__(self, events_min: int, events_max: int, seconds_target: float) -> None:
        """`seconds_target` is the time that an event may wait in Kafka's queue."""
        self._min = min(events_min, events_max)
        self._max = events_max
        self._seconds_target = seconds_target
        self.value = float(max(self._min, min(START_EVENTS, events_max)))
        # Whether requests were refused since the last window.
        self.is_pressed = False
        # The wait that is not a queue; 0 unless it exceeds the target.
        self.base_seconds = 0.0
        self._is_climbing = True
        # The limit before it was held after one late window, and what was acknowledged in the late windows.
        self._held: float | None = None
        self._acknowledged, self._seconds = 0, 0.0
        self._cut: Cut | None = None
        # The limit before Kafka became late.
        self._before = self.value
        # Windows that begin earlier do not show the effect of the latest change.
        self._settled_at = 0.0

    @property
    def seconds_target(self) -> float:
        """The mean time to acknowledgement above which Kafka is late."""
        return self.base_seconds * BASE_FACTOR + self._seconds_target

    def update(self, window: Window) -> None:
        """Change the limit according to a window."""
        is_pressed, self.is_pressed = self.is_pressed, False
        is_late = window.latency > self.seconds_target
        if not is_late and not self._is_growing(window):
            self._in_time(window, is_pressed=is_pressed)
        elif self._held is None:
            self._acknowledged, self._seconds = window.acknowledged, window.seconds
            self._hold(window.peak)
        elif is_late and (window.at - window.seconds >= self._settled_at or window.mean <= self.value):
            self._acknowledged += window.acknowledged
            self._seconds += window.seconds
            self._late(window)

    def stall(self, seconds: float, in_flight: int) -> None:
        """Admit nothing beyond what is in flight, if the oldest of it has waited for too long."""
        if seconds > self.seconds_target and self._held is None:
            self._acknowledged, self._seconds = 0, 0.0
            self._hold(in_flight)

    def _hold(self, in_flight: int) -> None:
        """Let not more be in flight than is: one late window may be a pause of this process."""
        self._held = self.value
        if self._cut is None:
            self._before = self.value
        self._set(min(self.value, max(HELD_EVENTS_MIN, in_flight)))

    def _is_growing(self, window: Window) -> bool:
        """Return whether what is in flight would take too long at the present rate, although nothing was late yet."""
        is_busy = window.busy_seconds >= window.seconds / 2 and window.last > HELD_EVENTS_MIN
        is_settled = window.at - window.seconds >= self._settled_at
        return is_busy and is_settled and window.last * window.busy_seconds > self.seconds_target * window.acknowledged

    def _in_time(self, window: Window, *, is_pressed: bool) -> None:
        if self._held is not None:
            self.value, self._held = max(self.value, self._held), None
        self._cut = None
        if window.latency < self.base_seconds:
            self.base_seconds += (window.latency - self.base_seconds) * BASE_DECAY
            if window.latency <= self._seconds_target:
                self.base_seconds = 0.0
        if is_pressed or window.peak * 2 > self.value:
            if window.at - window.seconds >= self._settled_at:
                self._set(self.value * CLIMB if self._is_climbing else self.value * GROWTH_FACTOR + GROWTH_EVENTS)
                self._settled_at = window.at + window.latency - window.seconds
        elif window.peak * 4 < self.value and self.value > START_EVENTS:
            self._set(max(START_EVENTS, self.value * DECAY))

    def _late(self, window: Window) -> None:
        rate, cut = self._acknowledged / self._seconds, self._cut
        if cut is not None:
            if rate < cut.rate * (1 + cut.part) / 2:
                # Fewer events in flight have only reduced the rate.
                self._accept_wait(window, self._before)
                return
            self.base_seconds = 0.0
        if self.value <= self._min:
            # At its minimum the limit cannot be the cause.
            self._accept_wait(window, self.value)
            return
        part = max(CUT_MIN, min(CUT_MAX, CUT_AIM * self._seconds_target / max(window.latency, QUICK_SECONDS)))
        in_use = min(self.value, window.mean)
        self._cut = Cut(rate, part)
        self._is_climbing = False
        self._set(in_use * part)
        self._held = self.value
        # What is in flight has to leave before the effect shows.
        self._settled_at = window.at + window.latency
        self._acknowledged, self._seconds = 0, 0.0

    def _accept_wait(self, window: Window, limit: float) -> None:
        self.base_seconds = min(window.latency, BASE_SECONDS_MAX)
        self._settled_at = window.at + window.latency
        self._cut = self._held = None
        self._is_climbing = True
        self._set(limit)

    def _set(self, value: float) -> None:
        self.value = max(float(self._min), min(value, float(self._max)))
