"""The last minutes as points: rates of what grows between two scrapes, and values of what rises and falls."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import NamedTuple

from local.live.scraping import COMPLETE, EVENTS, INVALID, LAG, ROWS, Sample

# Ten minutes, at a point a second.
POINTS_MAX = 600
REJECTED_TABLE = "rejected_events"
# The label by which the processes of one server differ.
WORKER = "worker"
Counts = Mapping[str, float]
Counters = Mapping[tuple[object, ...], Sample]


class Point(NamedTuple):
    """One moment: rates a second and counts since the point before; None when a process did not answer."""

    time: float
    # Events that ingest received, by outcome.
    events: Counts | None
    # Rows that the etl stored, in both tables.
    stored: float | None
    lag: float | None
    # Seconds since the time up to which the tables are complete.
    age: float | None
    # Events that ingest found invalid, by field; rows of rejected_events, by reason.
    invalid: Counts
    rejected: Counts


class History:
    """The points of the last minutes."""

    def __init__(self) -> None:
        self._encoded: deque[str] = deque(maxlen=POINTS_MAX)
        self._before: tuple[float, Counters | None, Counters | None] | None = None

    def add(self, now: float, ingest: Sequence[Sample] | None, etl: Sequence[Sample] | None) -> Point:
        """Add what was scraped at a time of day; None for a process that did not answer."""
        totals = counters(ingest, EVENTS, INVALID), counters(etl, ROWS)
        before_time, *before = self._before or (now, None, None)
        self._before = now, *totals
        seconds = max(now - before_time, 0.001)
        taken, stored = grown(before[0], totals[0]), grown(before[1], totals[1])
        events = None if taken is None else sums(taken, EVENTS, "outcome")
        rows = None if stored is None else sums(stored, ROWS, "table")
        rejected = [each for each in stored or () if each.labels.get("table") == REJECTED_TABLE]
        point = Point(
            time=round(now, 2),
            events=None if events is None else {name: round(count / seconds, 2) for name, count in events.items()},
            stored=None if rows is None else round(sum(rows.values()) / seconds, 2),
            lag=None if etl is None else total(etl, LAG),
            age=None if etl is None else age(etl, now),
            invalid=positive(sums(taken or (), INVALID, "field")),
            rejected=positive(sums(rejected, ROWS, "reason")),
        )
        self._encoded.append(json.dumps(point._asdict(), separators=(",", ":")))
        return point

    def encoded(self, points_max: int = POINTS_MAX) -> str:
        """Return the latest points as a JSON array, the oldest one first."""
        latest = list(self._encoded)
        return f"[{','.join(islice(latest, max(0, len(latest) - points_max), None))}]"


def counters(samples: Sequence[Sample] | None, *names: str) -> Counters | None:
    """Return the counters of a process by their names and labels; None when it did not answer."""
    if samples is None:
        return None
    return {(each.name, *sorted(each.labels.items())): each for each in samples if each.name in names}


def grown(before: Counters | None, now: Counters | None) -> list[Sample] | None:
    """Return by how much each counter has grown; None when one of the scrapes is missing.

    One that is smaller than before is that of a process that was started again, and began at 0, as one that is new. Of
    a worker that was not there before only the next scrape shows the growth.
    """
    if before is None or now is None:
        return None
    workers = {"", *(each.labels.get(WORKER, "") for each in before.values())}
    found = []
    for key, each in now.items():
        if each.labels.get(WORKER, "") in workers:
            earlier = before[key].value if key in before else 0.0
            found.append(each._replace(value=each.value - (earlier if earlier <= each.value else 0.0)))
    return found


def sums(samples: Sequence[Sample], name: str, label: str) -> dict[str, float]:
    """Return the sums of a metric by the values of a label."""
    found: dict[str, float] = {}
    for each in samples:
        if each.name == name:
            value = each.labels.get(label, "")
            found[value] = found.get(value, 0) + each.value
    return found


def positive(counts: Counts) -> dict[str, float]:
    """Return the counts that are not 0."""
    return {name: count for name, count in counts.items() if count > 0}


def total(samples: Sequence[Sample], name: str) -> float | None:
    """Return the sum of a metric; None when it has no samples."""
    values = [each.value for each in samples if each.name == name]
    return sum(values) if values else None


def age(samples: Sequence[Sample], now: float) -> float | None:
    """Return the seconds since the oldest time up to which a partition is complete; None when none is known."""
    times = [each.value for each in samples if each.name == COMPLETE and each.value > 0]
    return round(max(now - min(times), 0), 1) if times else None
