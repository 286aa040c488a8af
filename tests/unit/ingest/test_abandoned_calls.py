"""Outcomes of the events of calls that end before Kafka's acknowledgement: cancelled, or at their deadline."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from services.ingest import call as calls
from services.ingest.metrics import IngestMetrics
from tests.support.clients.calls import SECONDS_MAX, BlockingPublisher
from tests.support.clients.relay import BATCH_PRODUCE, alone, call, relay
from tests.support.processes.ingest_server import connection, ingest_server
from tests.unit.ingest.test_outcomes import EVENT, batch, ends, outcomes


@pytest.fixture(params=["alone", "relayed"])
def is_relayed(request: pytest.FixtureRequest) -> bool:
    """Return whether the calls are relayed."""
    return str(request.param) == "relayed"


async def ended(metrics: IngestMetrics, count: int) -> None:
    """Wait until so many calls have ended."""
    async with asyncio.timeout(SECONDS_MAX):
        while sum(ends(metrics).values()) < count:  # noqa: ASYNC110 -- the library has no event for it
            await asyncio.sleep(0.01)


async def test_cancelled(*, is_relayed: bool) -> None:
    """A cancelled batch counts as cancelled, and a cancelled single event by Kafka's report."""
    metrics, publisher = IngestMetrics(), BlockingPublisher()
    async with ingest_server(publisher, metrics=metrics) as address, connection(address) as channel:
        sent = call(1, EVENT.SerializeToString()), call(2, batch(*[EVENT] * 5), BATCH_PRODUCE)
        if is_relayed:
            async with relay(channel) as client:
                await client.send(*sent)
                await publisher.began(2)
        else:
            tasks = [asyncio.create_task(alone(channel, each)) for each in sent]
            await publisher.began(2)
            for task in tasks:
                task.cancel()
        await ended(metrics, len(sent))
        assert outcomes(metrics) == {"cancelled": 5}
        publisher.free.set()
        async with asyncio.timeout(SECONDS_MAX):
            while "accepted" not in outcomes(metrics):  # noqa: ASYNC110 -- see `ended`
                await asyncio.sleep(0.01)

    assert outcomes(metrics) == {"cancelled": 5, "accepted": 1}
    assert ends(metrics) == {("Produce", "CANCELLED"): 1, ("BatchProduce", "CANCELLED"): 1}


async def test_expired() -> None:
    """A relayed batch whose deadline has passed counts as not acknowledged."""
    metrics, publisher = IngestMetrics(), BlockingPublisher()
    server = ingest_server(publisher, metrics=metrics)
    async with server as address, connection(address) as channel, relay(channel) as client:
        await client.send(call(1, batch(*[EVENT] * 5), BATCH_PRODUCE, timeout_seconds=0.01))
        await client.answers(1)

    assert outcomes(metrics) == {"unavailable": 5}
    assert ends(metrics) == {("BatchProduce", "DEADLINE_EXCEEDED"): 1}


async def test_cancelled_at_the_deadline(monkeypatch: pytest.MonkeyPatch, *, is_relayed: bool) -> None:
    """A batch that its client cancels at its deadline counts as not acknowledged: Kafka took too long."""
    monkeypatch.setattr(calls, "EXPIRED_SECONDS", 2 * SECONDS_MAX)
    metrics, publisher = IngestMetrics(), BlockingPublisher()
    message = batch(*[EVENT] * 5)
    async with ingest_server(publisher, metrics=metrics) as address, connection(address) as channel:
        if is_relayed:
            async with relay(channel) as client:
                await client.send(call(1, message, BATCH_PRODUCE, timeout_seconds=SECONDS_MAX))
                await publisher.began(1)
                await client.send(cancelled=[1])
                await ended(metrics, 1)
        else:
            multi: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(BATCH_PRODUCE)
            unary = multi(message, timeout=SECONDS_MAX)
            await publisher.began(1)
            unary.cancel()
            await ended(metrics, 1)

    assert outcomes(metrics) == {"unavailable": 5}
    assert ends(metrics) == {("BatchProduce", "DEADLINE_EXCEEDED"): 1}
