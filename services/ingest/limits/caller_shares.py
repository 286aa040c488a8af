"""The shares of callers in the rate at which Kafka takes events: max-min fair, and bounded in memory. Pure.

Each caller has a debt of admitted events, which its share pays off. Shares are recomputed every second from what the
callers have asked for: a caller that wants less than an equal share keeps what it wants, and the others divide the
rest equally.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection

# Callers that are remembered; beyond it the one that has sent nothing for longest is forgotten.
CALLERS_MAX = 10_000
# How often the shares are computed, the first time, and the seconds of its share that a caller may send at once.
SHARES_SECONDS, FIRST_SECONDS = 1.0, 0.1
BURST_SECONDS = 0.25
# A caller that asks for so many times the average exceeds its share by itself. While Kafka takes little, every caller
# may exceed its share.
HEAVY_TIMES = 1.25
# Approximations of the share of the callers that want more than it. Each costs a pass over the callers.
PASSES = 4


class Caller:
    """What one caller has asked for since the shares were computed, and the events that its share has not paid off."""

    __slots__ = ("at", "debt", "is_heavy", "wanted")

    def __init__(self, now: float) -> None:
        self.at = now
        self.debt = 0.0
        # Whether it has asked for much more than the others.
        self.is_heavy = False
        self.wanted = 0


class CallerShares:
    """The callers that have sent events while most of the limit was used."""

    def __init__(self, callers_max: int = CALLERS_MAX) -> None:
        self._callers_max = callers_max
        self._callers: OrderedDict[str, Caller] = OrderedDict()
        # The share in events per second; None while there is one caller, or nothing is known.
        self._share: float | None = None
        self._began_at = self._next_at = 0.0

    def begin(self, now: float) -> None:
        """Begin to count what callers ask for, after a time in which all of them were served."""
        self._began_at, self._next_at = now, now + FIRST_SECONDS
        self._share = None
        self._callers.clear()

    def __len__(self) -> int:
        return len(self._callers)

    @property
    def are_known(self) -> bool:
        """Whether there are several callers, and each has a share."""
        return self._share is not None

    def find(self, name: str, events: int, now: float) -> Caller:
        """Return a caller that asks for events, with its debt at this time."""
        caller = self._callers.get(name)
        if caller is None:
            caller = self._callers[name] = Caller(now)
            if len(self._callers) > self._callers_max:
                self._callers.popitem(last=False)
        else:
            self._callers.move_to_end(name)
        if self._share is not None:
            caller.debt = max(0.0, caller.debt - self._share * (now - caller.at))
        caller.at = now
        caller.wanted += events
        return caller

    def has_share(self, caller: Caller) -> bool:
        """Return whether a caller has all of its share, so that it may send no more now."""
        return self._share is not None and caller.debt > self._share * BURST_SECONDS

    def is_below_share(self, caller: Caller) -> bool:
        """Return whether a caller has sent less than its share, while there are others."""
        return self._share is not None and not caller.debt

    def compute(self, events_per_second: float, now: float) -> None:
        """Compute the shares of a rate if it is time."""
        if now < self._next_at:
            return
        seconds = now - self._began_at
        self._began_at, self._next_at = now, now + SHARES_SECONDS
        wanted = [caller.wanted / seconds for caller in self._callers.values() if caller.wanted]
        heavy = HEAVY_TIMES * sum(wanted) * seconds / max(1, len(wanted))
        for caller in self._callers.values():
            caller.is_heavy = caller.wanted > heavy
            caller.wanted = 0
        if self._share is None:
            # What was admitted while there were no shares is not charged to them.
            for caller in self._callers.values():
                caller.debt = 0.0
        self._share = fair_share(wanted, events_per_second) if len(wanted) > 1 else None


def fair_share(wanted: Collection[float], capacity: float) -> float:
    """Return the most that each may have, so that those that want more divide what the others leave."""
    share = capacity / len(wanted)
    for _ in range(PASSES):
        modest = [each for each in wanted if each < share]
        if len(modest) == len(wanted):
            return max(wanted)
        share = (capacity - sum(modest)) / (len(wanted) - len(modest))
    return share
