"""Metrics of calls: each event that arrives has exactly one outcome, alone and relayed, however its call ends."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest
from ugc.v1.event_pb2 import Event, EventBatch

from services.ingest.auth.authentication import Authenticator
from services.ingest.auth.claims import TokenRules
from services.ingest.auth.keys import read_secret
from services.ingest.events.records import Headers, Record, Records
from services.ingest.kafka.errors import DeliveryFailure, Remedy
from services.ingest.metrics import IngestMetrics
from tests.support.clients.calls import BatchPublisher, BlockingPublisher
from tests.support.clients.relay import BATCH_PRODUCE, PRODUCE, alone, call, relay, relayed
from tests.support.inputs.events import valid
from tests.support.inputs.tokens import OTHER_SECRET, SECRET, USER, signed
from tests.support.processes.ingest_server import connection, ingest_server

Outcomes = dict[str, float]
EVENT = valid()
OTHER_USERS = valid(user_id="7d3a0c52-91de-4c1a-8f0b-2c4b5d6e7f80")
INVALID, TWICE_INVALID = valid(movie_id="x"), valid(movie_id="x", event="")
RETRY, LARGE, REJECTED, BROKEN = (valid(event_data=each) for each in ("retry", "large", "rejected", "broken"))
FAILURES = {
    b"retry": DeliveryFailure("Kafka: down"),
    b"large": DeliveryFailure("is larger than the topic takes", Remedy.REDUCE_SIZE),
    b"rejected": DeliveryFailure("Kafka: not authorized", Remedy.FIX_SERVER),
}
RULES = TokenRules(subject_is_user=True)
MINE, FORGED = f"Bearer {signed(sub=USER)}", f"Bearer {signed(OTHER_SECRET, sub=USER)}"
EXPIRED = f"Bearer {signed(sub=USER, exp=1)}"


class FailingPublisher(BatchPublisher):
    """Fails the events that name a failure, and raises an unexpected error for those that are `broken`."""

    async def publish(self, records: Records, headers: Headers | None = None) -> dict[int, DeliveryFailure]:  # noqa: ARG002 -- as the publisher has it
        if any(b"broken" in value for value in records.values):
            raise ZeroDivisionError
        named = {at: text for at, value in enumerate(records.values) for text in FAILURES if text in value}
        return {at: FAILURES[text] for at, text in named.items()}

    def send(
        self, record: Record, headers: Headers | None, on_report: Callable[[DeliveryFailure | None], None]
    ) -> None:
        if b"broken" in record.value:
            raise ZeroDivisionError
        super().send(record, headers, on_report)


def outcomes(metrics: IngestMetrics) -> Outcomes:
    """Return the outcomes that have occurred."""
    return {name: each.value for name, each in metrics.outcomes.items() if each.value}


def ends(metrics: IngestMetrics) -> dict[tuple[str, str], int]:
    """Return how many calls have ended, by method and code."""
    durations = next(each for each in metrics.collect() if each.name == "rpc_server_call_duration_seconds")
    found = [sample for sample in durations.samples if sample.name.endswith("_count") and sample.value]
    return {
        (sample.labels["rpc_method"].rpartition("/")[2], sample.labels["rpc_response_status_code"]): int(sample.value)
        for sample in found
    }


def batch(*events: Any) -> bytes:
    """Return an encoded batch."""
    return EventBatch(events=events).SerializeToString()


SINGLES: dict[str, tuple[Any, str, Outcomes]] = {
    "accepted": (EVENT, "OK", {"accepted": 1}),
    "invalid": (TWICE_INVALID, "INVALID_ARGUMENT", {"invalid": 1}),
    "cannot be parsed": (b"\xff", "INVALID_ARGUMENT", {"invalid": 1}),
    "empty": (b"", "INVALID_ARGUMENT", {"invalid": 1}),
    "too large for the topic": (LARGE, "INVALID_ARGUMENT", {"invalid": 1}),
    "of another user": (OTHER_USERS, "PERMISSION_DENIED", {"denied": 1}),
    "not acknowledged": (RETRY, "UNAVAILABLE", {"unavailable": 1}),
    "rejected by Kafka": (REJECTED, "FAILED_PRECONDITION", {"unavailable": 1}),
    "an error of ingest": (BROKEN, "INTERNAL", {"unavailable": 1}),
}
EVERY = (EVENT, EVENT, INVALID, TWICE_INVALID, LARGE, OTHER_USERS, RETRY, REJECTED)
BATCHES: dict[str, tuple[bytes, str, Outcomes]] = {
    "accepted": (batch(EVENT, EVENT), "OK", {"accepted": 2}),
    "every outcome": (batch(*EVERY), "OK", {"accepted": 2, "invalid": 3, "denied": 1, "unavailable": 2}),
    "nothing accepted": (batch(INVALID, RETRY), "UNAVAILABLE", {"invalid": 1, "unavailable": 1}),
    "all invalid": (batch(*[INVALID] * 300), "INVALID_ARGUMENT", {"invalid": 300}),
    "all denied": (batch(OTHER_USERS, OTHER_USERS), "PERMISSION_DENIED", {"denied": 2}),
    "cannot be parsed": (b"\xff", "INVALID_ARGUMENT", {"invalid": 1}),
    "no event": (b"", "INVALID_ARGUMENT", {}),
    "too many": (batch(*[Event()] * 10_001), "INVALID_ARGUMENT", {"invalid": 1}),
    "an error of ingest": (batch(EVENT, BROKEN), "INTERNAL", {"unavailable": 2}),
}
CASES = [
    *(
        pytest.param(PRODUCE, message, code, found, id=f"one {name}")
        for name, (message, code, found) in SINGLES.items()
    ),
    *(
        pytest.param(BATCH_PRODUCE, message, code, found, id=f"batch {name}")
        for name, (message, code, found) in BATCHES.items()
    ),
]


@pytest.fixture(params=["alone", "relayed"])
def is_relayed(request: pytest.FixtureRequest) -> bool:
    """Return whether the calls are relayed."""
    return str(request.param) == "relayed"


@contextlib.asynccontextmanager
async def counted(*, is_relayed: bool, **changes: Any) -> AsyncIterator[tuple[IngestMetrics, Callable[..., Any]]]:
    """Serve; yield the metrics and what makes a call."""
    metrics = IngestMetrics()
    authenticator = Authenticator(read_secret(SECRET), RULES, cache_tokens_max=10)
    server = ingest_server(FailingPublisher(), authenticator=authenticator, metrics=metrics, **changes)
    async with server as address, connection(address) as channel, relay(channel) as client:

        async def make(message: bytes, method: str, token: str = MINE) -> int:
            sent = call(1, message, method, authorization=token) if token else call(1, message, method)
            if not is_relayed:
                return (await alone(channel, sent)).code
            await client.send(sent)
            return relayed((await client.answers(1))[1]).code

        yield metrics, make


@pytest.mark.parametrize(("method", "message", "code", "expected"), CASES)
async def test_outcomes(method: str, message: Any, code: str, expected: Outcomes, *, is_relayed: bool) -> None:
    """The events of a call have the outcomes that the call's end implies, and the call is counted by its code."""
    encoded = message if isinstance(message, bytes) else message.SerializeToString()
    async with counted(is_relayed=is_relayed) as (metrics, make):
        assert await make(encoded, method) == grpc.StatusCode[code].value[0]

    assert outcomes(metrics) == expected
    assert ends(metrics) == {(method.rpartition("/")[2], code): 1}


@pytest.mark.parametrize(
    ("token", "verdict"), [("", "missing"), ("Bearer x", "invalid"), (FORGED, "invalid"), (EXPIRED, "expired")]
)
async def test_tokens(token: str, verdict: str, *, is_relayed: bool) -> None:
    """All events of a call without a valid token are denied, and the verdict is counted."""
    async with counted(is_relayed=is_relayed) as (metrics, make):
        await make(EVENT.SerializeToString(), PRODUCE, token)
        await make(batch(*[EVENT] * 7), BATCH_PRODUCE, token)
        await make(b"\xff", BATCH_PRODUCE, token)
        await make(EVENT.SerializeToString(), PRODUCE)

    assert outcomes(metrics) == {"denied": 9, "accepted": 1}
    assert {name: each.value for name, each in metrics.verdicts.items() if each.value} == {verdict: 3, "valid": 1}


async def test_fields(*, is_relayed: bool) -> None:
    """Violations are counted by their fields, and those that are not explained as such."""
    async with counted(is_relayed=is_relayed) as (metrics, make):
        await make(TWICE_INVALID.SerializeToString(), PRODUCE)
        await make(batch(EVENT, *[INVALID] * 300), BATCH_PRODUCE)
        await make(batch(EVENT, LARGE), BATCH_PRODUCE)
        await make(b"", BATCH_PRODUCE)

    found = {name: each.value for name, each in metrics.invalid.items() if each.value}
    assert found.pop("payload.movie_id") + found.pop("unexplained") == 301
    assert found == {"payload.event": 1, "event": 1, "events": 1}
    assert outcomes(metrics) == {"accepted": 2, "invalid": 302}
    assert (metrics.batch_events.total, sum(metrics.batch_events.counts)) == (303, 2)


async def test_limits(*, is_relayed: bool) -> None:
    """The events of calls for which a limit has no room are shed."""
    metrics, publisher = IngestMetrics(), BlockingPublisher()
    server = ingest_server(publisher, metrics=metrics, ingest_requests_max=1)
    async with server as address, connection(address) as channel, relay(channel) as client:
        first = asyncio.create_task(alone(channel, call(1, EVENT.SerializeToString())))
        await publisher.began(1)
        for number, sent in enumerate(
            (call(2, EVENT.SerializeToString()), call(3, batch(*[EVENT] * 5), BATCH_PRODUCE))
        ):
            if is_relayed:
                await client.send(sent)
                await client.answers(1)
            else:
                assert (await alone(channel, sent)).code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0], number
        publisher.free.set()
        await first

    # A batch alone is refused before its message is read.
    assert outcomes(metrics) == {"accepted": 1, "shed": 6 if is_relayed else 2}
    shed = dict(metrics.shed.read() if metrics.shed.read else {})
    assert {reason: count for (reason,), count in shed.items() if count} == {"memory": outcomes(metrics)["shed"]}


async def test_no_event(*, is_relayed: bool) -> None:
    """A call that brings no event counts none: its message is missing, or the method is disabled."""
    async with counted(is_relayed=is_relayed) as (metrics, make):
        assert await make(b"", "/ugc.v1.DebugService/RandomBatchProduce") == grpc.StatusCode.NOT_FOUND.value[0]

    assert outcomes(metrics) == {}
    assert ends(metrics) == {("RandomBatchProduce", "NOT_FOUND"): 1}
