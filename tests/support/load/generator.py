"""Sends a load of events from several clients: `python -m tests.support.load.generator --help`.

Each client sends batches at a constant rate, most by gRPC and some by REST. It retries every event with the same
event_id until it is acknowledged, also when the outcome of a call is unknown. Some acknowledged batches are sent again,
as by a client that has crashed. The ledger records what was sent and what was acknowledged.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import sys
import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc
from google.protobuf import json_format
from ugc.v1.event_pb2 import Event, EventBatch
from ugc.v1.ingest_service_pb2_grpc import IngestServiceStub

from common.lifecycle import stop_flag
from tests.support.inputs.events import valid
from tests.support.load.ledger import LedgerWriter
from tests.support.processes.system import ingest_stub, post

CALL_SECONDS_MAX = 10.0
RETRY_SECONDS = 0.1
USERS = 997
# The share of events whose event_id another user has just used.
SHARED_SHARE = 0.1
PER_SECOND_MAX = 2_000.0
EVENTS_MAX = 1_500_000
SECONDS_MAX = 1_000.0
UNAVAILABLE = 14
# Responses after which the outcome is unknown, or that ask for a retry.
AGAIN_GRPC = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.INTERNAL,
}
NO_ANSWER = 0
AGAIN_HTTP = {NO_ANSWER, 429, 499, 500, 502, 503, 504}
SUCCESS_HTTP = {201, 207}


@dataclass(frozen=True)
class Plan:
    """The size, rate and targets of the load."""

    ingest: str
    gateway: str
    ledger: Path
    seed: int
    events: int
    per_second: float
    seconds_max: float
    clients: int
    batch: int
    rest_share: float
    repeat_share: float


class RejectedError(Exception):
    """The server rejected a valid event."""


class Client:
    """A client with its own sequence of batches, which the seed determines."""

    def __init__(self, plan: Plan, number: int, ledger: LedgerWriter, stub: IngestServiceStub) -> None:
        self._plan = plan
        self._chance = random.Random(f"{plan.seed}/{number}")
        self._number = number
        self._ledger = ledger
        self._stub = stub
        self._deadline = time.monotonic() + plan.seconds_max
        self._last: tuple[str, int] | None = None

    def run(self, stop: threading.Event) -> None:
        """Send this client's share of the events, at its share of the rate, until done, stopped or out of time."""
        plan = self._plan
        share = plan.events // plan.clients
        begin = time.monotonic()
        for sent in range(0, share, plan.batch):
            due = begin + sent * plan.clients / plan.per_second
            if stop.wait(max(0.0, due - time.monotonic())) or time.monotonic() > self._deadline:
                return
            events = [self._event(sent + n) for n in range(min(plan.batch, share - sent))]
            self._ledger.sent(list(map(identity, events)))
            if self._send_until_acknowledged(events, stop) and self._chance.random() < plan.repeat_share:
                self._send(events)

    def _event(self, number: int) -> Event:
        """Return an event with a new event_id, or sometimes with the last event_id and another user."""
        chance = self._chance
        if self._last and chance.random() < SHARED_SHARE:
            event_id, user = self._last[0], (self._last[1] + 1) % USERS
        else:
            event_id, user = str(uuid.UUID(int=chance.getrandbits(128), version=4)), chance.randrange(USERS)
        self._last = event_id, user
        return valid(
            event_id=event_id,
            movie_id=str(uuid.UUID(int=number)),
            user_id=str(uuid.UUID(int=user)),
            event_data="x" * chance.randrange(200),
            some_client_data=f"{self._number}/{number}",
        )

    def _send_until_acknowledged(self, events: Sequence[Event], stop: threading.Event) -> bool:
        while events:
            left = self._send(events)
            if done := set(map(identity, events)) - set(map(identity, left)):
                self._ledger.acknowledged(sorted(done))
            events = left
            if events and (stop.wait(RETRY_SECONDS) or time.monotonic() > self._deadline):
                return False
        return True

    def _send(self, events: Sequence[Event]) -> Sequence[Event]:
        """Send a batch once; return the events that were not acknowledged."""
        by_rest = self._plan.gateway and self._chance.random() < self._plan.rest_share
        began = time.time()
        left = self._send_by_rest(events) if by_rest else self._send_by_grpc(events)
        if left:
            self._ledger.unacknowledged(began, len(left))
        return left

    def _send_by_grpc(self, events: Sequence[Event]) -> Sequence[Event]:
        try:
            answer = self._stub.BatchProduce(EventBatch(events=events), timeout=CALL_SECONDS_MAX)
        except grpc.RpcError as error:
            if error.code() not in AGAIN_GRPC:
                raise RejectedError(f"gRPC: {error.code()} {error.details()}") from error
            return events
        return rejected(events, [(each.index, each.error.code) for each in answer.rejected])

    def _send_by_rest(self, events: Sequence[Event]) -> Sequence[Event]:
        body = json.dumps([json_format.MessageToDict(event, preserving_proto_field_name=True) for event in events])
        status, answer = post(f"{self._plan.gateway}/api/v1/batch_produce", body.encode())
        if status in AGAIN_HTTP:
            return events
        if status not in SUCCESS_HTTP:
            raise RejectedError(f"HTTP {status}: {answer}")
        return rejected(events, [(each.get("index", 0), each["error"]["code"]) for each in answer["rejected"]])


def identity(event: Event) -> str:
    """Return the identity of an event: its event_id and user_id."""
    return f"{event.event_id} {event.payload.user_id}"


def rejected(events: Sequence[Event], verdicts: Sequence[tuple[int, int]]) -> list[Event]:
    """Return the events of a batch to retry; raise RejectedError when one was rejected for good."""
    if codes := {code for _, code in verdicts} - {UNAVAILABLE}:
        raise RejectedError(f"valid events were rejected with codes {sorted(codes)}")
    return [events[index] for index, _ in verdicts]


def run(plan: Plan, stop: threading.Event) -> list[BaseException]:
    """Run all clients until they end; return their errors."""
    failures: list[BaseException] = []

    def client(number: int, ledger: LedgerWriter, stub: IngestServiceStub) -> None:
        try:
            Client(plan, number, ledger, stub).run(stop)
        except BaseException as error:  # noqa: BLE001 -- reported by the main thread
            failures.append(error)
            stop.set()

    with contextlib.closing(LedgerWriter(plan.ledger)) as ledger, ingest_stub(plan.ingest) as stub:
        threads = [threading.Thread(target=client, args=(number, ledger, stub)) for number in range(plan.clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return failures


def bounded(kind: type[float] | type[int], maximum: float) -> type[float]:
    """Return a parser of numbers above 0 and at most `maximum`."""

    def read(text: str) -> float:
        number = kind(text)
        if not 0 < number <= maximum:
            raise argparse.ArgumentTypeError(f"must be above 0 and at most {maximum:g}")
        return number

    return read  # type: ignore[return-value]  # argparse wants any callable


def arguments() -> Plan:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ingest", required=True, metavar="HOST:PORT")
    parser.add_argument(
        "--gateway", default="", metavar="URL", help="address for REST; without it everything is sent by gRPC"
    )
    parser.add_argument("--ledger", required=True, type=Path)
    parser.add_argument("--seed", required=True, type=int)
    parser.add_argument("--events", required=True, type=bounded(int, EVENTS_MAX))
    parser.add_argument("--per-second", default=1_000.0, type=bounded(float, PER_SECOND_MAX))
    parser.add_argument("--seconds-max", default=60.0, type=bounded(float, SECONDS_MAX))
    parser.add_argument("--clients", default=2, type=bounded(int, 16))
    parser.add_argument("--batch", default=100, type=bounded(int, 1_000))
    parser.add_argument("--rest-share", default=0.25, type=float)
    parser.add_argument(
        "--repeat-share", default=0.05, type=float, help="share of acknowledged batches that are sent again"
    )
    return Plan(**vars(parser.parse_args()))


def main() -> None:
    """Send the load; exit with status 1 when a valid event was rejected."""
    plan = arguments()
    with stop_flag() as stop:
        failures = run(plan, stop)
    for failure in failures:
        sys.stderr.write(f"{type(failure).__name__}: {failure}\n")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
