"""Measures what the user in an event's identity costs the etl, in decoding and in the duplicate window.

`python -m tests.benchmarks.etl_identity [--events N] [--rounds N]`; the variants alternate, for a reliable ratio.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa

import etl.events.rows
from etl.events.duplicates import DuplicateWindow
from etl.events.identity import identities
from etl.events.rows import Message
from tests.support.benchmarks.report import Figure, Run
from tests.support.benchmarks.tables import show
from tests.support.inputs.messages import FakeMessage
from tests.support.load.backlog import records

BATCH, WINDOW = 50_000, 100_000
Identities = Callable[[pa.Array, pa.Array], list[bytes]]


def event_ids_alone(event_ids: pa.Array, _users: pa.Array) -> list[bytes]:
    """Return identities without the user."""
    found: list[bytes] = event_ids.to_pylist()
    return found


VARIANTS: dict[str, Identities] = {"event_id alone": event_ids_alone, "event_id and user": identities}


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(prog="etl_identity", description="Measures the cost of an event's identity.")
    options.add_argument("--events", type=int, default=500_000)
    options.add_argument("--rounds", type=int, default=5)
    given = options.parse_args()
    run = Run("etl_identity")
    messages = [FakeMessage(value, at=at) for at, (_, value) in enumerate(records(given.events, seed=1))]
    batches = [messages[at : at + BATCH] for at in range(0, len(messages), BATCH)]
    costs: dict[str, list[tuple[float, float]]] = {name: [] for name in VARIANTS}
    for _ in range(given.rounds):
        for name, variant in VARIANTS.items():
            costs[name].append(measured(batches, variant))
    found = []
    for name, each in costs.items():
        decoding, window = (
            tuple(seconds / given.events * 1e6 for seconds in column) for column in zip(*each, strict=True)
        )
        parts = {"decoding": statistics.median(decoding), "duplicate window": statistics.median(window)}
        together = tuple(map(sum, zip(decoding, window, strict=True)))
        found.append(Figure(name, "etl", "CPU", "us an event", together, parts))
    show(run.end(found, options=vars(given)))


def measured(batches: Sequence[Sequence[Message]], variant: Identities) -> tuple[float, float]:
    """Return the seconds of CPU of decoding, and of the window."""
    module: Any = etl.events.rows
    window, decoding, looking = DuplicateWindow(WINDOW), 0.0, 0.0
    module.identities = variant
    for batch in batches:
        began = time.process_time()
        rows = etl.events.rows.decode(batch)
        decoded = time.process_time()
        etl.events.rows.without_duplicates(rows, batch, window)
        decoding += decoded - began
        looking += time.process_time() - decoded
    module.identities = identities
    return decoding, looking


if __name__ == "__main__":
    main()
