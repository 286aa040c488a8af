"""Several processes behind one address: the gateway has a stream to each of them, and spreads its calls."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator

import grpc
import pytest
from ugc.relay.v1.relay_service_pb2 import Answer, Call

from gateway.errors import Metadata
from gateway.relay.calls import RelayedCall
from gateway.relay.spread import CALLS_MIN, Relays
from gateway.reply import Reply
from local.processes.ports import free_port
from tests.support.fakes.relay import FakeRelay, declaration, handlers

METHOD = "/a.B/C"
WAIT_SECONDS_MAX = 60.0
POLL_SECONDS = 0.02
MANY = CALLS_MIN + 20


class Server:
    """One of several processes, on a port of its own: which of them a connection reaches is the test's choice."""

    def __init__(self, name: str, servers: int, port: int | None = None) -> None:
        self.name = name
        self.port = port or free_port()
        self.held = asyncio.Event()
        declared = declaration(METHOD, servers=servers)
        declared.server = name
        self.relay = FakeRelay(self._answer, declared)

    async def _answer(self, _call: Call) -> Answer:
        await self.held.wait()
        return Answer(message=self.name.encode())

    def channel(self) -> grpc.aio.Channel:
        """Open a connection to it."""
        return grpc.aio.insecure_channel(f"127.0.0.1:{self.port}", options=(("grpc.use_local_subchannel_pool", 1),))

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Serve in the block."""
        server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
        server.add_generic_rpc_handlers((handlers(self.relay),))
        server.add_insecure_port(f"127.0.0.1:{self.port}")
        await server.start()
        try:
            yield
        finally:
            await server.stop(0)


class Caller:
    """Waits for a verdict."""

    def __init__(self) -> None:
        self.reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()

    def metadata(self) -> Metadata:
        """Return no metadata."""
        return ()

    def metadata_fields(self, _names: frozenset[str]) -> bytes:
        """Return no metadata."""
        return b""

    def answered(self, reply: Reply) -> None:
        """Take the response."""
        self.reply.set_result(reply)

    def failed(self, error: Exception) -> None:
        """Take the error."""
        self.reply.set_exception(error)


def alone(_call: RelayedCall) -> asyncio.Task[None]:
    """Fail: no call of these tests is made alone."""
    raise AssertionError("a call was not relayed")


@contextlib.asynccontextmanager
async def relaying(first: Server, others: Iterator[Server], turn: int = 0) -> AsyncIterator[Relays]:
    """Keep streams open: the first one to `first`, and further connections reach `others` one after another."""
    async with first.channel() as channel:
        relays = Relays(channel, lambda: next(others).channel(), alone, POLL_SECONDS, turn)
        running = asyncio.create_task(relays.run())
        try:
            yield relays
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


def begun(relays: Relays) -> Caller:
    """Begin a call."""
    caller, stream = Caller(), relays.stream
    assert stream is not None
    assert stream.begin(caller, METHOD, b"", b"", None, WAIT_SECONDS_MAX) is not None
    return caller


async def servers_of_calls(relays: Relays, servers: list[Server], count: int) -> list[str]:
    """Begin calls at the same time; return the names of the servers that have answered them."""
    for server in servers:
        server.held.clear()
    callers = [begun(relays) for _ in range(count)]
    for server in servers:
        server.held.set()
    return sorted([(await caller.reply).message.decode() for caller in callers])


def repeated(*servers: Server) -> Iterator[Server]:
    """Yield servers, the last one again and again."""
    yield from servers
    while True:
        yield servers[-1]


async def test_each_server_has_a_stream() -> None:
    """A connection to a server that has a stream is closed and another one tried."""
    one, other = Server("one", 2), Server("other", 2)
    async with one.serving(), other.serving(), relaying(one, repeated(one, one, other)) as relays:
        await await_servers(relays, {"one", "other"})
        assert (one.relay.streams, other.relay.streams) == (3, 1)
        assert await servers_of_calls(relays, [one, other], 2 * MANY) == ["one"] * MANY + ["other"] * MANY


@pytest.mark.parametrize("turn", range(3))
async def test_preferred_server(turn: int) -> None:
    """Few calls share one stream, which depends on the turn; many are spread evenly over both."""
    servers = [Server("one", 2), Server("other", 2)]
    async with servers[0].serving(), servers[1].serving(), relaying(servers[0], repeated(servers[1]), turn) as relays:
        await await_servers(relays, {"one", "other"})
        assert await servers_of_calls(relays, servers, CALLS_MIN) == [servers[turn % 2].name] * CALLS_MIN
        assert await servers_of_calls(relays, servers, 2 * MANY) == ["one"] * MANY + ["other"] * MANY


async def test_one_server() -> None:
    """A server that shares its address with no other has one stream."""
    one = Server("one", 1)
    async with one.serving(), relaying(one, iter(())) as relays:
        await await_servers(relays, {"one"})
        assert await servers_of_calls(relays, [one], 3) == ["one"] * 3


async def test_server_that_ends() -> None:
    """When a server ends, all calls go to the other one; its successor gets a stream."""
    one, other = Server("one", 2), Server("other", 2)
    successor = Server("successor", 2, other.port)
    async with one.serving(), relaying(one, repeated(other)) as relays:
        async with other.serving():
            await await_servers(relays, {"one", "other"})
            assert await servers_of_calls(relays, [one, other], 2 * MANY) == ["one"] * MANY + ["other"] * MANY
        await await_servers(relays, {"one"})
        assert await servers_of_calls(relays, [one], 2) == ["one"] * 2
        async with successor.serving():
            await await_servers(relays, {"one", "successor"})
            assert await servers_of_calls(relays, [one, successor], 2 * MANY) == ["one"] * MANY + ["successor"] * MANY


async def test_first_stream_at_a_server_with_a_stream() -> None:
    """When the first stream has moved to the server of a further one, that one moves, and its calls are answered."""
    one, other, third = Server("one", 2), Server("other", 2), Server("third", 2)
    moved = Server("other", 2, one.port)
    async with other.serving(), third.serving(), contextlib.AsyncExitStack() as closing:
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(one.serving())
            relays = await closing.enter_async_context(relaying(one, repeated(other, third)))
            await await_servers(relays, {"one", "other"})
            callers = [begun(relays) for _ in range(CALLS_MIN + 1)]
        async with moved.serving():
            # The further stream gets no more calls, and keeps its call.
            await until(lambda: len(relays._relays) == 1)
            await await_servers(relays, {"other"})
            other.held.set()
            replies = await asyncio.gather(*[caller.reply for caller in callers], return_exceptions=True)
            assert [each.message for each in replies if isinstance(each, Reply)] == [b"other"]
            await await_servers(relays, {"other", "third"})
            await closing.aclose()


async def await_servers(relays: Relays, wanted: set[str]) -> None:
    """Wait until calls can go to these servers."""
    await until(lambda: relays.servers() == wanted)


async def until(is_so: Callable[[], bool]) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(WAIT_SECONDS_MAX):
        while not is_so():  # noqa: ASYNC110 -- another task's state, which has no event
            await asyncio.sleep(POLL_SECONDS)
