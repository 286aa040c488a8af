"""What it costs the etl that an event is its event_id and its user: decoding and the window of repeats, an event.

`python -m tests.benchmarks.etl_identity [--events N] [--rounds N]`; ways take turns, so that the ratio can be trusted.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
from rich import box
from rich.console import Console
from rich.table import Table

import etl.events.rows
from etl.events.duplicates import DuplicateWindow
from etl.events.identity import identities
from etl.events.rows import Message
from tests.support.inputs.messages import FakeMessage
from tests.support.load.backlog import records

BATCH, WINDOW = 50_000, 100_000
Identities = Callable[[pa.Array, pa.Array], list[bytes]]


def event_ids_alone(event_ids: pa.Array, _users: pa.Array) -> list[bytes]:
    """Return what was an event's identity before its user was part of it."""
    found: list[bytes] = event_ids.to_pylist()
    return found


WAYS: dict[str, Identities] = {"event_id alone": event_ids_alone, "event_id and user": identities}


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(prog="etl_identity", description="What an event's identity costs.")
    options.add_argument("--events", type=int, default=500_000)
    options.add_argument("--rounds", type=int, default=5)
    given = options.parse_args()
    messages = [FakeMessage(value, at=at) for at, (_, value) in enumerate(records(given.events, seed=1))]
    batches = [messages[at : at + BATCH] for at in range(0, len(messages), BATCH)]
    costs: dict[str, list[tuple[float, float]]] = {name: [] for name in WAYS}
    for _ in range(given.rounds):
        for name, way in WAYS.items():
            costs[name].append(measured(batches, way))
    table = Table(box=box.SIMPLE, title=f"{given.events:,} events: microseconds of CPU an event, medians")
    for column in ("an event is its", "decoding", "window", "together"):
        table.add_column(column, justify="right")
    for name, each in costs.items():
        decoding, window = (statistics.median(column) / given.events * 1e6 for column in zip(*each, strict=True))
        table.add_row(name, f"{decoding:.2f}", f"{window:.2f}", f"{decoding + window:.2f}")
    Console().print(table)


def measured(batches: Sequence[Sequence[Message]], way: Identities) -> tuple[float, float]:
    """Return the seconds of CPU that decoding takes, and those of the window."""
    module: Any = etl.events.rows
    window, decoding, looking = DuplicateWindow(WINDOW), 0.0, 0.0
    module.identities = way
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
