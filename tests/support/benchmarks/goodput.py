"""What the benchmark `goodput` finds in the calls that it offered."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.support.load.arrivals import percentile
from tests.support.load.offered import Offer, OfferedCall

# Of each call.
EVENTS = 50
DEADLINE_SECONDS = 5.0
# The time that is measured after Kafka was slow.
AFTER_SECONDS = 8.0
# A second in which so much of the offer is accepted is one in which the system has recovered.
RECOVERED = 0.9
BIN_SECONDS = 0.5
QUANTITIES = {
    "goodput": "events/s", "Kafka took": "events/s", "goodput of it": "%", "p50 of accepted": "ms",
    "p99 of accepted": "ms", "answered after the deadline": "calls", "refused": "events/s", "memory more": "MB",
    "recovery": "s", "slowest health check": "ms", "smaller caller accepted": "%",
}  # fmt: skip


def figures(calls: Sequence[OfferedCall], began: float, ended: float, taken: int, offered: float) -> dict[str, float]:
    """Return the figures of the time in which Kafka was slow, and how long it took to recover."""
    during = [call for call in calls if began <= call.due < ended]
    good = [call for call in calls if is_good(call)]
    in_time = [call for call in good if call.ended is not None and began <= call.ended < ended]
    waits = [call.ended - call.due for call in during if call.is_accepted and call.ended is not None]
    late = sum(call.ended is None or call.ended - call.due >= DEADLINE_SECONDS for call in calls if call.due >= began)
    refused = sum(not call.is_accepted and not is_late(call) for call in during)
    goodput, kafka = len(in_time) * EVENTS / (ended - began), taken / (ended - began)
    return {
        "goodput": goodput,
        "Kafka took": kafka,
        "goodput of it": 100 * goodput / kafka,
        "p50 of accepted": percentile(waits, 0.5) * 1_000,
        "p99 of accepted": percentile(waits, 0.99) * 1_000,
        "answered after the deadline": late,
        "refused": refused * EVENTS / (ended - began),
        "recovery": recovery(good, ended, offered),
    }


def is_late(call: OfferedCall) -> bool:
    """Return whether a call ended after its deadline, or never."""
    return call.ended is None or call.ended - call.due >= DEADLINE_SECONDS


def is_good(call: OfferedCall) -> bool:
    """Return whether the events of a call were accepted before its deadline."""
    return call.is_accepted and not is_late(call)


def recovery(good: Sequence[OfferedCall], ended: float, offered: float) -> float:
    """Return the seconds after which what was due is accepted again, at most those that were measured."""
    for number in range(int(AFTER_SECONDS / BIN_SECONDS)):
        start = ended + number * BIN_SECONDS
        accepted = sum(start <= call.due < start + BIN_SECONDS for call in good) * EVENTS
        if accepted >= RECOVERED * offered * BIN_SECONDS:
            return number * BIN_SECONDS
    return AFTER_SECONDS


def smaller_caller(offers: Sequence[Offer], began: float, ended: float) -> dict[str, float]:
    """Return which part of its calls the smallest of several callers had accepted in time."""
    if len(offers) == 1:
        return {}
    during = [call for call in offers[-1].calls if began <= call.due < ended]
    return {"smaller caller accepted": 100 * sum(map(is_good, during)) / len(during)}


def megabytes(pid: int) -> float:
    """Return the resident memory of a process."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmRSS"))) / 1_000
