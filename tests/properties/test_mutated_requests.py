"""Mutated gRPC bodies through the servicer: each is accepted or rejected as documented, and nothing else happens.

UGC_TEST_MUTATIONS is how many bodies; the full count, 500,000, takes less than a minute.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from types import FrameType

import grpc
import pytest
from google.rpc.code_pb2 import Code
from structlog import DropEvent
from structlog.testing import capture_logs
from ugc.v1.event_pb2 import Event, EventBatch, EventRecord

from services.ingest.call import StatusError
from services.ingest.events.records import Records
from services.ingest.events.validation import EventValidator, batch_limits
from services.ingest.servicer import IngestServicer
from tests.support.clients.calls import EVENT_BYTES_MAX, AcceptingPublisher, plain_call
from tests.support.inputs.events import numbered, valid
from tests.support.inputs.mutations import mutated
from tests.support.inputs.protobuf_mutations import PROTOBUF_MUTATIONS

BODIES = int(os.environ.get("UGC_TEST_MUTATIONS", "50000"))
SEED = 20_261_124
# Far above the time of one body on the slowest machine: it ends a hang and is not a measurement.
HANG_SECONDS = 120

EVENTS = [numbered(1), valid(event_data="\u044b\U0001f600" * 20), valid(event_id=""), Event()]
GOOD = {
    "Produce": [event.SerializeToString() for event in EVENTS],
    "BatchProduce": [EventBatch(events=EVENTS[:count]).SerializeToString() for count in (1, 2, 3, 4)]
    + [EventBatch(events=[numbered(number) for number in range(12)]).SerializeToString()],
}


@pytest.fixture(autouse=True)
def quiet_and_bounded() -> Iterator[None]:
    """Log nothing, and end a body that hangs."""

    def hung(_number: int, _frame: FrameType | None) -> None:
        raise TimeoutError(f"a body has taken more than {HANG_SECONDS} s")

    handler = signal.signal(signal.SIGALRM, hung)
    with capture_logs([drop]):
        yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, handler)


def drop(*_: object) -> dict[str, object]:
    """Drop a log line."""
    raise DropEvent


@pytest.mark.parametrize("method", ["Produce", "BatchProduce"])
async def test_mutated_bodies(method: str) -> None:
    """Half of the bodies by each method: OK or INVALID_ARGUMENT, and accepted events have a valid record (seeded)."""
    publisher, rules = AcceptingPublisher(), EventValidator(EVENT_BYTES_MAX)
    servicer = IngestServicer(rules, batch_limits(), publisher, retry_seconds=1.0)
    call = servicer.produce if method == "Produce" else servicer.batch_produce
    outcomes: Counter[str] = Counter()
    for body in mutated(GOOD[method], PROTOBUF_MUTATIONS, BODIES // 2, SEED):
        publisher.records = Records()
        signal.alarm(HANG_SECONDS)
        try:
            await call(body, plain_call())
        except StatusError as error:
            outcomes[Code.Name(error.status.code)] += 1
        else:
            outcomes["OK"] += 1
        for record in publisher.records:
            stored = EventRecord.FromString(record.value)
            assert rules.violations(stored.event) == []
            assert (len(stored.event_id), record.key.decode()) == (16, stored.event.payload.user_id.lower())

    assert outcomes.keys() == {"OK", grpc.StatusCode.INVALID_ARGUMENT.name}, outcomes
    assert sum(outcomes.values()) == BODIES // 2
