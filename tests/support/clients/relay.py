"""A client of the relay service whose frames the test chooses, and the end of a call as alone and as relayed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple

import grpc
from ugc.relay.v1.relay_service_pb2 import Answer, Call, Declaration, RelayRequest, RelayResponse

from tests.support.clients.calls import SECONDS_MAX

RELAY = "/ugc.relay.v1.RelayService/Relay"
PRODUCE = "/ugc.v1.IngestService/Produce"
BATCH_PRODUCE = "/ugc.v1.IngestService/BatchProduce"


class Ended(NamedTuple):
    """The end of a call: status, response and metadata."""

    code: int
    message: str
    response: bytes
    metadata: frozenset[tuple[str, bytes]]


class RelayClient:
    """A relay stream."""

    def __init__(self, stream: Any, declaration: Declaration) -> None:
        self.stream = stream
        self.declaration = declaration
        self.is_draining = False

    async def send(self, *calls: Call, cancelled: Sequence[int] = ()) -> None:
        """Send one frame."""
        await self.stream.write(RelayRequest(calls=calls, cancelled=cancelled).SerializeToString())

    async def answers(self, count: int) -> dict[int, Answer]:
        """Return the next answers by the id of their call."""
        found: dict[int, Answer] = {}
        while len(found) < count:
            response = await self.response()
            assert response is not None
            found |= {answer.id: answer for answer in response.answers}
        return found

    async def response(self) -> RelayResponse | None:
        """Return the next frame, None at the end of the stream."""
        async with asyncio.timeout(SECONDS_MAX):
            frame = await self.stream.read()
        if frame is grpc.aio.EOF:
            return None
        response = RelayResponse.FromString(frame)
        self.is_draining |= response.draining
        return response

    async def code(self) -> grpc.StatusCode:
        """Return the status of the stream once it has ended; answers that come before are dropped."""
        with contextlib.suppress(grpc.aio.AioRpcError):
            while await self.response() is not None:
                pass
        code: grpc.StatusCode = await self.stream.code()
        return code


@contextlib.asynccontextmanager
async def relay(channel: grpc.aio.Channel) -> AsyncIterator[RelayClient]:
    """Open a relay stream; it is cancelled at the end of the block."""
    stream: Any = channel.stream_stream(RELAY)(timeout=None)
    async with asyncio.timeout(SECONDS_MAX):
        declaration = RelayResponse.FromString(await stream.read()).declaration
    try:
        yield RelayClient(stream, declaration)
    finally:
        stream.cancel()


def call(number: int, message: bytes, method: str = PRODUCE, timeout_seconds: float = 0, **metadata: str) -> Call:
    """Return a call; `_` in names of metadata stands for `-`."""
    flat = [each for name, value in metadata.items() for each in (name.replace("_", "-").encode(), value.encode())]
    milliseconds = round(timeout_seconds * 1000)
    return Call(id=number, method=method, message=message, metadata=flat, timeout_milliseconds=milliseconds)


def relayed(answer: Answer) -> Ended:
    """Return the end of a relayed call."""
    pairs = zip(answer.metadata[::2], answer.metadata[1::2], strict=True)
    metadata = frozenset((name.decode(), value) for name, value in pairs)
    return Ended(answer.status_code, answer.status_message, answer.message, metadata)


async def alone(channel: grpc.aio.Channel, sent: Call) -> Ended:
    """Make the same call alone, and return its end."""
    multi: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(sent.method)
    pairs = zip(sent.metadata[::2], sent.metadata[1::2], strict=True)
    unary = multi(sent.message, metadata=[(name.decode(), value.decode()) for name, value in pairs])
    response = b""
    with contextlib.suppress(grpc.aio.AioRpcError):
        response = await asyncio.wait_for(unary, SECONDS_MAX)
    code, message = await unary.code(), await unary.details()
    trailing = await unary.trailing_metadata() or ()
    metadata = frozenset((name, value if isinstance(value, bytes) else value.encode()) for name, value in trailing)
    return Ended(code.value[0], message or "", response, metadata)
