"""The client that keeps a stream open: a server that is slow to declare what it offers, and a stream given up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import grpc
import pytest

from gateway.relay import client, spread
from gateway.relay.calls import RelayedCall
from gateway.relay.client import Relay
from gateway.relay.frames import Declaration
from gateway.relay.spread import Relays
from local.processes.ports import free_port
from tests.contract.relayed_service import PRODUCE, Service
from tests.support.fakes.relay import Context, FakeRelay, declaration, serving

# Timeout of waits that would otherwise hang a failing test.
WAIT_SECONDS_MAX = 60


def alone(_call: RelayedCall) -> asyncio.Task[None]:
    raise AssertionError("no call was begun")


class LateRelay(FakeRelay):
    """Declares nothing on its first stream."""

    async def relay(self, requests: AsyncIterator[bytes], context: Context) -> None:
        if not self.streams:
            self.streams += 1
            await asyncio.Event().wait()
        await super().relay(requests, context)


async def test_late_declaration(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that does not declare in time is asked again after a pause, on the same connection."""
    monkeypatch.setattr(client, "DECLARATION_SECONDS_MAX", 0.5)
    service, port = Service(), free_port()
    late = LateRelay(service.relayed, declaration(PRODUCE))
    async with (
        serving(late, service.handlers(), port),
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
        asyncio.timeout(WAIT_SECONDS_MAX),
    ):
        relay = Relay(channel, alone, pause_seconds=0.01)
        running = asyncio.create_task(relay.run())
        while relay.stream is None:  # noqa: ASYNC110 -- the relay has no event for it
            await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    assert late.streams >= 2


class FakeStream:
    """A stream to a server, with a call in flight."""

    def __init__(self, server: str) -> None:
        self.declaration = Declaration(frozenset(), frozenset(), 1, 1, 1, server, 2)

    def calls_in_flight(self) -> int:
        return 1


class FakeStreams:
    """Keeps a stream open until the test ends it."""

    def __init__(self, server: str) -> None:
        self.stream: FakeStream | None = FakeStream(server)

    async def run(self) -> None:
        await asyncio.Event().wait()


async def test_given_up_stream_that_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """A further stream to a server that another one has is given up, also if it ends before its calls have."""
    monkeypatch.setattr(spread, "CHECK_SECONDS", 0.01)
    relays = Relays(cast("Any", None), cast("Any", None), alone, pause_seconds=0.01)
    relays._first = first = cast("Any", FakeStreams("one"))
    relays._relays = [first]
    further = FakeStreams("one")
    async with asyncio.timeout(WAIT_SECONDS_MAX):
        running = asyncio.create_task(relays._run_while_free(cast("Relay", further), 2))
        await asyncio.sleep(0)
        assert relays._relays == [first, further]
        while len(relays._relays) == 2:  # noqa: ASYNC110 -- the relays have no event for it
            await asyncio.sleep(0.01)
        further.stream = first.stream = None
        assert await running
