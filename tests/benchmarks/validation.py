"""Costs of ingest per event, up to Kafka: `python -m tests.benchmarks.validation` prints microseconds and ratios."""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections.abc import Callable
from typing import NamedTuple

import protovalidate
import structlog
from ugc.v1.event_pb2 import Event, EventBatch

from services.ingest.batch_validation import PART_EVENTS_MAX
from services.ingest.events.columns import column_validator
from services.ingest.events.records import EventKeys, keys_of, stamp, stamp_one
from services.ingest.events.validation import BATCH, IDENTITY_PATH, USER_PATH, EventValidator, batch_limits
from services.ingest.events.wire import join_batch, split_batch
from services.ingest.servicer import IngestServicer
from tests.support.benchmarks.report import Figure, Run
from tests.support.benchmarks.tables import show
from tests.support.clients.calls import AcceptingPublisher, plain_call
from tests.support.inputs.events import numbered

EVENT_BYTES_MAX = 65_536
# Each measure processes this many events in a round; the best round counts, as the machine may be shared.
EVENTS = 1_000
ROUNDS = 15
BATCHES = (1, 100, 1_000)
NOW = 1_700_000_000_000


class Measure(NamedTuple):
    """One line of the table; `run` handles EVENTS events."""

    name: str
    batch: int
    run: Callable[[], object]


def main() -> None:
    """Measure, print, and write the report."""
    run = Run("validation")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    loop = asyncio.new_event_loop()
    events = [numbered(number) for number in range(EVENTS)]
    found = [(measure, best_microseconds(measure.run)) for size in BATCHES for measure in measures(events, size, loop)]
    loop.close()
    rows = {1: "Produce"} | {size: f"batch of {size:,}" for size in BATCHES[1:]}
    figures = [Figure(rows[measure.batch], measure.name, "CPU", "us an event", (cost,)) for measure, cost in found]
    options = {"bytes an event": events[0].ByteSize(), "best of rounds": ROUNDS, "events a round": EVENTS}
    show(run.end(figures, options=options))


def measures(events: list[Event], size: int, loop: asyncio.AbstractEventLoop) -> list[Measure]:
    """Return the measures of batches of one size; of size 1 by Produce."""
    validator, rules = EventValidator(EVENT_BYTES_MAX), protovalidate.Validator()
    servicer = IngestServicer(validator, batch_limits(), AcceptingPublisher(), retry_seconds=1.0)
    context = plain_call()
    groups = [events[at : at + size] for at in range(0, EVENTS, size)]
    encoded = [[event.SerializeToString() for event in group] for group in groups]
    if size == 1:
        singles = [one for group in encoded for one in group]

        async def produce_all() -> None:
            for one in singles:
                await servicer.produce(one, context)

        return [
            Measure("parse", size, lambda: [Event.FromString(one) for one in singles]),
            Measure("protovalidate", size, lambda: [rules.collect_violations(event) for event in events]),
            Measure("parse and validate", size, lambda: [validator.check(one) for one in singles]),
            Measure("stamp", size, lambda: [stamp_one(*pair, NOW) for pair in zip(singles, events, strict=True)]),
            Measure("whole servicer, Kafka faked", size, lambda: loop.run_until_complete(produce_all())),
        ]
    requests = [EventBatch(events=group).SerializeToString() for group in groups]
    batches = [EventBatch.FromString(request) for request in requests]

    async def batch_produce_all() -> None:
        for request in requests:
            await servicer.batch_produce(request, context)

    parts = [
        (join_batch(part), len(part), max(map(len, part)))
        for group in encoded
        for at in range(0, size, PART_EVENTS_MAX)
        if (part := group[at : at + PART_EVENTS_MAX])
    ]
    columns = column_validator(BATCH, USER_PATH, IDENTITY_PATH)
    assert columns is not None
    keys = [keys_of(group) for group in groups]
    pairs = list(zip(encoded, keys, strict=True))
    return [
        Measure("parse", size, lambda: [EventBatch.FromString(request) for request in requests]),
        Measure("cut into events", size, lambda: [list(split_batch(request)) for request in requests]),
        Measure("protovalidate", size, lambda: [rules.collect_violations(batch) for batch in batches]),
        Measure("validate by columns", size, lambda: [columns.keys(*part) for part in parts]),
        Measure("validate as a whole by protovalidate", size, lambda: [keys_of_whole(rules, *part) for part in parts]),
        Measure("validate each by itself", size, lambda: [[*map(validator.check, some)] for some in encoded]),
        Measure("stamp", size, lambda: [stamp(*pair, NOW) for pair in pairs]),
        Measure("whole servicer, Kafka faked", size, lambda: loop.run_until_complete(batch_produce_all())),
    ]


def keys_of_whole(rules: protovalidate.Validator, encoded: bytes, _count: int, _largest: int) -> EventKeys | None:
    """Do what `columns.keys` does by the library, as ingest does where the columns do not decide."""
    batch = EventBatch.FromString(encoded)
    return None if rules.collect_violations(batch, fail_fast=True) else keys_of(batch.events)


def best_microseconds(run: Callable[[], object]) -> float:
    """Return the microseconds per event of the best round."""
    best = float("inf")
    gc.collect()
    for _ in range(ROUNDS):
        began = time.process_time()
        run()
        best = min(best, time.process_time() - began)
    return best / EVENTS * 1e6


if __name__ == "__main__":
    main()
