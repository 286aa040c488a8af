"""Generated and mutated messages: a relayed call ends as the same call alone, byte for byte, whatever it contains.

UGC_TEST_MESSAGES is how many messages are sent both ways.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Iterator

import pytest
from google.rpc.code_pb2 import INVALID_ARGUMENT, OK, UNAVAILABLE
from structlog.testing import capture_logs
from ugc.relay.v1.relay_service_pb2 import Call
from ugc.v1.event_pb2 import Event, EventBatch

from tests.support.clients.calls import FakePublisher
from tests.support.clients.relay import BATCH_PRODUCE, PRODUCE, Ended, alone, relay, relayed
from tests.support.inputs.events import numbered, valid
from tests.support.inputs.mutations import mutated
from tests.support.inputs.protobuf_mutations import PROTOBUF_MUTATIONS
from tests.support.processes.ingest_server import connection, ingest_server

# Each message takes a call of its own too, so a tenth of what other tests of messages send.
MESSAGES = max(500, int(os.environ.get("UGC_TEST_MESSAGES", "30000")) // 10)
SEED = 20_261_127
FRAME_CALLS_MAX = 40
# With the client's own identity, as a generated one differs in each call.
IDENTITY = "018f5e2a-7b1c-7def-8abc-0123456789ab"
EVENTS = [
    valid(event_id=IDENTITY),
    valid(event_id=IDENTITY, event_data="\u044b\U0001f600" * 20),
    valid(event_id=IDENTITY, event_data="fail"),
    valid(event_id=IDENTITY, event_data="x" * 20_000),
    Event(),
]
GOOD = {
    PRODUCE: [event.SerializeToString() for event in EVENTS],
    BATCH_PRODUCE: [EventBatch(events=EVENTS[:count]).SerializeToString() for count in (1, 2, 3, 4)]
    + [EventBatch(events=[numbered(number) for number in range(12)]).SerializeToString()],
}
METADATA = [
    [],
    [(b"x-request-id", b"abc-1")],
    [(b"x-request-id", b"abc-1"), (b"x-request-id", b"abc-2")],
    [(b"x-request-id", b"not valid")],
    [(b"traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"), (b"tracestate", b"a=b")],
    [(b"cookie", b"secret"), (b"authorization", b"Bearer x")],
]


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Keep the log lines of the calls out of the output."""
    with capture_logs():
        yield


def calls(count: int) -> Iterator[Call]:
    """Yield calls with mutated messages, from one in four a message without a mutation."""
    chance = random.Random(SEED)
    for method, good in GOOD.items():
        for number, body in enumerate(mutated(good, PROTOBUF_MUTATIONS, count // 2, SEED)):
            message = body if chance.random() < 0.75 else chance.choice(good)
            metadata = [each for pair in chance.choice(METADATA) for each in pair]
            yield Call(id=number + 1, method=method, message=message, metadata=metadata)


def comparable(ended: Ended, sent: Call) -> tuple[object, ...]:
    """Return the end of a call without what the server has generated: a request id, and the identity of an event."""
    metadata: set[object] = {name for name, _ in ended.metadata}
    has_id = list(sent.metadata[:2]) == [b"x-request-id", b"abc-1"] and len(sent.metadata) == 2
    metadata |= {pair for pair in ended.metadata if has_id or pair[0] != "x-request-id"}
    response: object = ended.response
    if sent.method == PRODUCE and ended.code == OK and not Event.FromString(sent.message).event_id:
        response = len(ended.response)
    return ended.code, ended.message, response, metadata


async def test_relayed_as_alone() -> None:
    """Code, text, response and metadata are equal, and the same records are stored (seeded)."""
    publisher, chance = FakePublisher(), random.Random(SEED)
    outcomes: Counter[int] = Counter()
    waiting: list[Call] = []
    async with ingest_server(publisher) as address, connection(address) as channel, relay(channel) as client:
        for sent in calls(MESSAGES):
            waiting.append(sent)
            if len(waiting) < chance.randrange(1, FRAME_CALLS_MAX):
                continue
            expected, publisher.records = {}, []
            for each in waiting:
                expected[each.id] = comparable(await alone(channel, each), each)
            stored, publisher.records = sorted(record.key for record in publisher.records), []
            await client.send(*waiting)
            answers = await client.answers(len(waiting))
            found = {each.id: comparable(relayed(answers[each.id]), each) for each in waiting}
            assert found == expected
            assert sorted(record.key for record in publisher.records) == stored
            outcomes.update(answer.status_code for answer in answers.values())
            waiting = []

    assert outcomes.keys() == {OK, INVALID_ARGUMENT, UNAVAILABLE}
    assert min(outcomes.values()) > 10
