"""The load generator's connections, against servers that are not the project's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest

from tests.support.load.errors import RefusedError
from tests.support.load.http2 import GrpcConnection
from tests.support.load.slots import HttpSlot, connect, connect_grpc, http_request

CREATED = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\nX-Other: content-length: 9\r\n\r\n{}"
SECONDS_MAX = 30.0
# More than the first window of a stream and of a connection.
LARGE = b"x" * 1_000_000


class Transport(asyncio.Transport):
    """Collects what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data


def http_slot(failed: asyncio.Future[None]) -> tuple[HttpSlot, Transport]:
    slot, transport = HttpSlot([b"one", b"two"], b"201", failed), Transport()
    slot.connection_made(transport)
    return slot, transport


def failure() -> asyncio.Future[None]:
    return asyncio.get_running_loop().create_future()


@pytest.mark.parametrize("cuts", [[len(CREATED)], list(range(1, len(CREATED) + 1)), [40, len(CREATED)]])
async def test_answers_in_pieces(cuts: list[int]) -> None:
    """An answer is complete with its last byte, however it is cut; then the slot is free for the next body."""
    slot, transport = http_slot(failure())
    answers = list[int]()
    for number in range(2):
        slot.send(number, lambda number=number: answers.append(number))  # type: ignore[misc]  # mypy infers no type
        begin = 0
        for cut in cuts:
            assert len(answers) == number
            slot.data_received(CREATED[begin:cut])
            begin = cut

    assert answers == [0, 1]
    assert transport.written == b"onetwo"


@pytest.mark.parametrize("answer", [CREATED.replace(b"201", b"207"), CREATED.replace(b"Content-Length", b"Length")])
async def test_other_answers(answer: bytes) -> None:
    """Another status ends the load, and so does an answer whose length is not in its head."""
    failed = failure()
    slot, _ = http_slot(failed)
    slot.send(0, lambda: pytest.fail("not an answer"))
    slot.data_received(answer.replace(b"X-Other: content-length: 9\r\n", b""))

    assert isinstance(failed.exception(), RefusedError)


async def test_lost_connection() -> None:
    """A connection that ends before the answer ends the load; an idle one may end."""
    failed = failure()
    slot, _ = http_slot(failed)
    slot.connection_lost(None)
    assert not failed.done()
    slot.send(0, lambda: pytest.fail("not an answer"))
    slot.connection_lost(None)

    assert isinstance(failed.exception(), RefusedError)


async def test_request() -> None:
    """A request is one that an HTTP server reads, and its connection stays open."""
    heads = list[bytes]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            heads.append(await reader.readuntil(b"\r\n\r\n") + await reader.readexactly(4))
            writer.write(CREATED)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    slot = await connect(address, [http_request(address, "/x", b"body")], b"201", failure())
    for _ in range(2):
        answered = asyncio.Event()
        slot.send(0, answered.set)
        await asyncio.wait_for(answered.wait(), SECONDS_MAX)
    slot.close()
    server.close()

    head = f"POST /x HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: 4\r\n\r\nbody"
    assert heads == [head.encode()] * 2


class Echo(grpc.GenericRpcHandler):
    """Answers with a number of bytes, or with an error; collects the requests and their metadata."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self.metadata: list[dict[str, str | bytes]] = []

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
        async def answer(request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
            self.requests.append(request)
            self.metadata.append(dict(context.invocation_metadata() or ()))
            if details.method == "/s/Fail":
                await context.abort(grpc.StatusCode.UNAVAILABLE, "no")
            return b"x" * (1_000 if details.method == "/s/Long" else 2)

        return grpc.unary_unary_rpc_method_handler(answer)


@asynccontextmanager
async def calling(
    method: str, bodies: list[bytes], failed: asyncio.Future[None], *, is_refused: bool = False
) -> AsyncIterator[tuple[GrpcConnection, Echo]]:
    echo, server = Echo(), grpc.aio.server()
    server.add_generic_rpc_handlers((echo,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    connection = await connect_grpc(f"127.0.0.1:{port}", method, bodies, failed, is_refused=is_refused)
    yield connection, echo
    connection.close()
    await server.stop(None)


async def test_calls() -> None:
    """Calls of one connection are in flight together, and each is answered."""
    async with calling("/s/Call", [b"one", b"two"], failure()) as (connection, echo):
        for _ in range(2):
            left, answered = list(range(64)), asyncio.Event()

            def done(left: list[int] = left, answered: asyncio.Event = answered) -> None:
                left.pop()
                if not left:
                    answered.set()

            for number in range(64):
                connection.send(number, done)
            await asyncio.wait_for(answered.wait(), SECONDS_MAX)

    assert sorted(echo.requests) == [b"one"] * 64 + [b"two"] * 64
    assert {str(metadata["user-agent"]) for metadata in echo.metadata} == {"ugc-bench"}


async def test_bodies_above_the_window() -> None:
    """A body that exceeds the windows is sent as far as they permit, then the rest."""
    async with calling("/s/Call", [LARGE], failure()) as (connection, echo):
        answered = asyncio.Event()
        connection.send(0, answered.set)
        await asyncio.wait_for(answered.wait(), SECONDS_MAX)

    assert echo.requests == [LARGE]


@pytest.mark.parametrize("method", ["/s/Fail", "/s/Long"])
async def test_failed_calls(method: str) -> None:
    """A call that fails ends the load, and so does a batch of which events were rejected: their list is long."""
    failed = failure()
    async with calling(method, [b"body"], failed) as (connection, _):
        connection.send(0, lambda: None)
        with pytest.raises(RefusedError):
            await asyncio.wait_for(failed, SECONDS_MAX)


async def test_refused_calls() -> None:
    """In a load of calls that are to fail, one that fails is answered, and one that succeeds ends the load."""
    failed, answered = failure(), asyncio.Event()
    async with calling("/s/Fail", [b"body"], failed, is_refused=True) as (connection, _):
        connection.send(0, answered.set)
        await asyncio.wait_for(answered.wait(), SECONDS_MAX)
    async with calling("/s/Call", [b"body"], failed, is_refused=True) as (connection, _):
        connection.send(0, lambda: None)
        with pytest.raises(RefusedError):
            await asyncio.wait_for(failed, SECONDS_MAX)
