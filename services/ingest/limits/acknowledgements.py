"""Measures how long events wait for Kafka's acknowledgement, without a reading of the clock for each event. Pure.

The publisher counts the events that it hands over. Each poll of the producer notes the count and the time, and learns
how many events are acknowledged. Kafka acknowledges nearly in the order of the hand-over, so an event has waited since
the note that counts it. What is in flight is counted by the producer itself, so an event that fails, is cancelled or is
dropped cannot be forgotten.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

WINDOW_SECONDS = 0.05
# A window is at least as long as so many of its waits, because the requests of the producer alternate in their size.
WAITS = 0.7
# A window without an acknowledgement is reported as a stall after this time, and again each time that it has passed.
STALLED_SECONDS = 0.5
# The time between two notes.
NOTE_SECONDS = 0.004


class Window(NamedTuple):
    """What was measured over a short time in which events were in flight."""

    # When it ended, by the clock of the polls.
    at: float
    # The mean seconds from the hand-over of an event to its acknowledgement.
    latency: float
    # The mean and the largest number of events in flight, and the number at the end.
    mean: float
    peak: int
    last: int
    acknowledged: int
    # How long the window was, and for how long of it events were in flight. It ends with an acknowledgement, so the
    # number of these divided by the time is a rate also where they are rare.
    seconds: float
    busy_seconds: float


class AckMeter:
    """Counts the events in flight; the publisher increases `handed` and `in_flight`, `on_poll` corrects them.

    `pending` are events of admitted requests that are not handed over yet; `in_flight` includes them.
    """

    def __init__(
        self,
        on_window: Callable[[Window], None] = lambda _window: None,
        on_stall: Callable[[float, int], None] = lambda _seconds, _unacknowledged: None,
    ) -> None:
        """`on_window` gets each window, `on_stall` the age of the oldest event in flight, and their number."""
        self._on_window = on_window
        self._on_stall = on_stall
        self._stalled_at = 0.0
        # Events that were ever handed to the producer.
        self.handed = 0
        self.in_flight = 0
        self.pending = 0
        # Events that wait for brokers which do not answer, the part of later ones that does, and `handed` at that time.
        self._stuck, self._stuck_share, self._stuck_since = 0, 0.0, 0
        # Mean seconds of the latest window, and the least that an event has to wait which comes now; 0 when idle.
        self.latency = 0.0
        self.expected_seconds = 0.0
        # Counts of events handed over, and when; those before the first are acknowledged.
        self._notes: deque[tuple[int, float]] = deque()
        self._noted = 0
        self._next_note_at = 0.0
        self._acknowledged = 0
        self._at = self._began = 0.0
        # Of the window: sums of events times seconds, in flight and until acknowledged.
        self._area = self._waited = self._busy_seconds = 0.0
        self._acknowledged_before = 0
        self._peak = 0

    def reserve(self, events: int) -> None:
        """Count events as in flight that will be handed over."""
        self.pending += events
        self.in_flight += events

    def hand_over(self, events: int) -> None:
        """Count reserved events as handed over."""
        self.handed += events
        self.pending -= events

    def cancel(self, events: int) -> None:
        """Stop counting reserved events, which are not handed over."""
        self.pending -= events
        self.in_flight -= events

    def exclude(self, events: int, share: float) -> None:
        """Leave out events that wait for brokers which do not answer, and this part of those handed over from now on.

        They say nothing about the other brokers, which would otherwise get fewer and fewer events.
        """
        self._stuck, self._stuck_share, self._stuck_since = events, share, self.handed

    def on_poll(self, unacknowledged: int, now: float) -> None:
        """Note how many events are in the producer at a time."""
        if self._stuck_share:
            stuck = self._stuck + int((self.handed - self._stuck_since) * self._stuck_share)
            unacknowledged = max(0, unacknowledged - stuck)
        before = self.in_flight - self.pending
        if before:
            self._area += before * (now - self._at)
            self._busy_seconds += now - self._at
            self._peak = max(self._peak, before)
        self._at = now
        self.in_flight = unacknowledged + self.pending
        if self.handed > self._noted and now >= self._next_note_at:
            self._notes.append((self.handed, now))
            self._noted, self._next_note_at = self.handed, now + NOTE_SECONDS
        acknowledged = self.handed - unacknowledged
        if acknowledged < self._acknowledged:
            # Events that were left out count again.
            self._acknowledged = acknowledged
            self._begin()
        has_come = acknowledged > self._acknowledged
        if has_come:
            self._take(acknowledged, now)
        elapsed = now - self._began
        if elapsed >= WINDOW_SECONDS:
            if has_come:
                latency = self._waited / (acknowledged - self._acknowledged_before)
                if elapsed >= WAITS * latency:
                    self._end(elapsed, latency, unacknowledged)
            else:
                self._wait(elapsed, unacknowledged)

    def _take(self, acknowledged: int, now: float) -> None:
        """Add the waits of the events that were acknowledged since the last poll."""
        notes, done = self._notes, self._acknowledged
        while notes and done < acknowledged:
            handed, since = notes[0]
            part = min(handed, acknowledged) - done
            self._waited += part * (now - since)
            done += part
            if done >= handed:
                notes.popleft()
        # Those that were handed over after the last note have not waited.
        self._acknowledged = acknowledged
        self._noted = max(self._noted, acknowledged)

    def _wait(self, elapsed: float, unacknowledged: int) -> None:
        """Handle a poll without an acknowledgement, late in a window."""
        if not unacknowledged:
            self.latency = self.expected_seconds = 0.0
            self._begin()
            return
        oldest = self._at - self._notes[0][1] if self._notes else elapsed
        self.expected_seconds = max(self.latency, oldest)
        if elapsed >= STALLED_SECONDS and self._at >= self._stalled_at:
            self._stalled_at = self._at + STALLED_SECONDS
            self._on_stall(oldest, unacknowledged)

    def _end(self, elapsed: float, latency: float, unacknowledged: int) -> None:
        self.latency = self.expected_seconds = latency
        count = self._acknowledged - self._acknowledged_before
        mean, busy_seconds = self._area / elapsed, self._busy_seconds
        window = Window(self._at, latency, mean, self._peak, unacknowledged, count, elapsed, busy_seconds)
        self._begin()
        self._on_window(window)

    def _begin(self) -> None:
        self._began = self._at
        self._area = self._waited = self._busy_seconds = 0.0
        self._acknowledged_before = self._acknowledged
        self._peak = 0
