"""What JSON costs the gateway an event: `python -m tests.benchmarks.json_decoding` prints microseconds and ratios."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable
from typing import NamedTuple

from google.protobuf import json_format
from ugc.v1.event_pb2 import Event, EventBatch
from ugc.v1.ingest_service_pb2 import ProduceResponse

from gateway.descriptors import load_schema
from gateway.json.fast import FastReader
from gateway.json.message_types import MessageTypes
from gateway.json.reader import JsonReader
from gateway.json.text import parse, to_json
from gateway.json.writer import JsonWriter
from gateway.routing.routes import load_routes
from gateway.settings import product_descriptors
from gateway.transcoding import Transcoder
from local.up.example import DOCUMENTED_EVENT
from tests.support.benchmarks.report import Comparison, Figure, Run
from tests.support.benchmarks.tables import show

# Every measure does this many events a round, in turn with the others, and its best round counts: others share the
# machine.
EVENTS = 1_000
ROUNDS = 20
BATCH = 500
REFERENCE = "json_format, protobuf's own"
ONE = DOCUMENTED_EVENT.encode()
MANY = b"[" + b", ".join([ONE] * BATCH) + b"]"
TEXT = MANY.replace(b"some_event_data", '{\\"comment\\": \\"отличный фильм\\"}'.encode())
ESCAPED = json.dumps(json.loads(TEXT)).encode()


class Measure(NamedTuple):
    """One line of the table; `run` reads `events` events, or writes the answer to one."""

    name: str
    events: int
    run: Callable[[], object]
    is_answer: bool = False

    @property
    def row(self) -> str:
        """What is read or written."""
        if self.is_answer:
            return "an answer to one event"
        return "one event" if self.events == 1 else f"an event of a request of {self.events}"


def main() -> None:
    """Measure, print, and write the report."""
    run = Run("json_decoding")
    measures = [*readers(), *requests(), *answers()]
    costs: dict[Measure, list[float]] = {measure: [] for measure in measures}
    gc.collect()
    for _round in range(ROUNDS):
        for measure in measures:
            costs[measure].append(microseconds(measure))
    best = {(measure.row, measure.name): min(each) for measure, each in costs.items()}
    found, ratios = [], []
    for (row, name), cost in best.items():
        found.append(Figure(row, name, "CPU", "us an event", (cost,)))
        if name != REFERENCE and (reference := best.get((row, REFERENCE))) is not None:
            ratios.append(Comparison(row, name, "us an event", cost, REFERENCE, reference))
    options = {"best of rounds": ROUNDS, "events a round": EVENTS, "bytes of JSON an event": len(ONE)}
    show(run.end(found, ratios, options=options))


def readers() -> list[Measure]:
    """Return the readers alone, from bytes to a message or its bytes."""
    types, fast, fast_batch = MessageTypes(), FastReader(Event), FastReader(EventBatch, "events")

    def exactly() -> None:
        JsonReader(types, strict=False).message(Event(), parse(ONE))

    wrapped = b'{"events": ' + MANY + b"}"
    return [
        Measure("json.loads, no message", 1, lambda: json.loads(ONE)),
        Measure(REFERENCE, 1, lambda: json_format.Parse(ONE, Event())),
        Measure("gateway, exact", 1, exactly),
        Measure("gateway, fast", 1, lambda: fast.read(ONE)),
        Measure(REFERENCE, BATCH, lambda: json_format.Parse(wrapped, EventBatch())),
        Measure("gateway, fast", BATCH, lambda: fast_batch.read(MANY)),
        Measure("gateway, fast, text that is not ASCII", BATCH, lambda: fast_batch.read(TEXT)),
        Measure("gateway, fast, the same escaped", BATCH, lambda: fast_batch.read(ESCAPED)),
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


def answers() -> list[Measure]:
    """Return what an answer costs, from the service's bytes to JSON, by each writer."""
    schema = load_schema(product_descriptors().read_bytes())
    transcoder, route = Transcoder(schema), load_routes(schema).match("POST", "/api/v1/produce").route
    data = ProduceResponse(event_id="1ec4cd73-2fd5-4f25-af68-b6595d279af2").SerializeToString()
    writer = JsonWriter(MessageTypes())
    return [
        Measure("gateway, exact", 1, lambda: to_json(writer.message(ProduceResponse.FromString(data))), is_answer=True),
        Measure("gateway, fast", 1, lambda: transcoder.answer(route, data), is_answer=True),
    ]


def microseconds(measure: Measure) -> float:
    """Return the microseconds an event of one round."""
    began = time.process_time()
    for _call in range(EVENTS // measure.events):
        measure.run()
    return (time.process_time() - began) / EVENTS * 1e6


if __name__ == "__main__":
    main()
