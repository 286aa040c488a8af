"""RelayService: at load answers gather, as long as a call is in progress whose answer could join them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from common import pacing
from tests.support.clients.calls import BlockingPublisher
from tests.support.clients.relay import RelayClient, call, relay
from tests.support.inputs.events import documented
from tests.support.processes.ingest_server import connection, ingest_server

EVENT, NO_EVENT = documented().SerializeToString(), b"\xff"
FOREVER = 1_000.0


@pytest.fixture
def publisher() -> BlockingPublisher:
    return BlockingPublisher()


@pytest.fixture
async def client(publisher: BlockingPublisher, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RelayClient]:
    """Yield a client whose last frame had several answers; gathering lasts longer than the test."""
    monkeypatch.setattr(pacing, "ITEMS_MIN", 2)
    monkeypatch.setattr(pacing, "GATHER_SECONDS", FOREVER)
    monkeypatch.setattr(pacing, "ITEM_SECONDS_MAX", FOREVER)
    async with ingest_server(publisher) as address, connection(address) as channel, relay(channel) as client:
        await client.send(call(1, NO_EVENT), call(2, NO_EVENT))
        assert await answered(client) == {1, 2}
        yield client


async def answered(client: RelayClient) -> set[int]:
    """Return the ids of the calls that the next frame answers, which is not the one that ends the stream at its age."""
    response = await client.response()
    assert response is not None
    assert not response.draining
    return {answer.id for answer in response.answers}


async def test_answers_gather(client: RelayClient, publisher: BlockingPublisher) -> None:
    """An answer waits for that of a call in progress, and then for nothing more."""
    await client.send(call(1, EVENT), call(2, NO_EVENT))
    await publisher.began(1)
    publisher.free.set()
    assert await answered(client) == {1, 2}


async def test_a_cancelled_call_is_not_awaited(client: RelayClient, publisher: BlockingPublisher) -> None:
    """When the last call in progress is cancelled, the answers that have gathered are sent."""
    await client.send(call(1, EVENT), call(2, NO_EVENT))
    await publisher.began(1)
    await client.send(cancelled=[1])
    assert await answered(client) == {2}
    assert not publisher.free.is_set()


async def test_a_client_that_closes_its_side(client: RelayClient, publisher: BlockingPublisher) -> None:
    """The answers that have gathered are sent when the client sends nothing more."""
    await client.send(call(1, EVENT), call(2, NO_EVENT))
    await publisher.began(1)
    await client.stream.done_writing()
    assert await answered(client) == {2}
    assert not publisher.free.is_set()
