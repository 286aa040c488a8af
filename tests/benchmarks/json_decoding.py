"""What JSON costs the gateway an event: `python -m tests.benchmarks.json_decoding` prints microseconds and ratios."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable
from typing import NamedTuple

from google.protobuf import json_format
from ugc.v1.event_pb2 import Event, EventBatch

from gateway.descriptors import load_schema
from gateway.json.fast import FastReader
from gateway.json.message_types import MessageTypes
from gateway.json.reader import JsonReader
from gateway.json.text import parse
from gateway.routing.routes import load_routes
from gateway.settings import product_descriptors
from gateway.transcoding import Transcoder
from local.up.example import DOCUMENTED_EVENT
from tests.support.benchmarks.report import Comparison, Figure, Run
from tests.support.benchmarks.tables import show

# Every measure does this many events a round, in turn with the others, and its best round counts: others share the
# machine.
EVENTS = 500
ROUNDS = 20
BATCH = 100
REFERENCE = "json_format, protobuf's own"
ONE = DOCUMENTED_EVENT.encode()
MANY = b"[" + b", ".join([ONE] * BATCH) + b"]"


class Measure(NamedTuple):
    """One line of the table; `run` reads `events` events."""

    name: str
    events: int
    run: Callable[[], object]


def main() -> None:
    """Measure, print, and write the report."""
    run = Run("json_decoding")
    measures = [*readers(), *requests()]
    costs: dict[Measure, list[float]] = {measure: [] for measure in measures}
    gc.collect()
    for _round in range(ROUNDS):
        for measure in measures:
            costs[measure].append(microseconds(measure))
    best = {(measure.name, measure.events): min(each) for measure, each in costs.items()}
    found, ratios = [], []
    for (name, events), cost in best.items():
        row = "one event" if events == 1 else f"an event of a request of {events}"
        found.append(Figure(row, name, "CPU", "us an event", (cost,)))
        if name != REFERENCE:
            reference = best[REFERENCE, events]
            ratios.append(Comparison(row, name, "us an event", cost, REFERENCE, reference))
    options = {"best of rounds": ROUNDS, "events a round": EVENTS, "bytes of JSON an event": len(ONE)}
    show(run.end(found, ratios, options=options))


def readers() -> list[Measure]:
    """Return the readers alone, from bytes to a message."""
    types, fast = MessageTypes(), FastReader(Event)

    def exactly() -> None:
        JsonReader(types, strict=False).message(Event(), parse(ONE))

    wrapped = b'{"events": ' + MANY + b"}"
    return [
        Measure("json.loads, no message", 1, lambda: json.loads(ONE)),
        Measure(REFERENCE, 1, lambda: json_format.Parse(ONE, Event())),
        Measure("gateway, exact", 1, exactly),
        Measure("gateway, fast", 1, lambda: fast.read(ONE)),
        Measure(REFERENCE, BATCH, lambda: json_format.Parse(wrapped, EventBatch())),
    ]


def requests() -> list[Measure]:
    """Return what a request costs in all: from its body to the bytes that are sent on."""
    schema = load_schema(product_descriptors().read_bytes())
    transcoder, routes = Transcoder(schema), load_routes(schema)
    single, batch = routes.match("POST", "/api/v1/produce"), routes.match("POST", "/api/v1/batch_produce")
    unknown = ONE.replace(b'"version"', b'"unheard_of": 1, "version"')
    return [
        Measure("a whole request", 1, lambda: transcoder.request(single, "", ONE, strict=False)),
        Measure("a whole request, an unknown key", 1, lambda: transcoder.request(single, "", unknown, strict=False)),
        Measure("a whole request", BATCH, lambda: transcoder.request(batch, "", MANY, strict=False)),
    ]


def microseconds(measure: Measure) -> float:
    """Return the microseconds an event of one round."""
    began = time.process_time()
    for _call in range(EVENTS // measure.events):
        measure.run()
    return (time.process_time() - began) / EVENTS * 1e6


if __name__ == "__main__":
    main()
