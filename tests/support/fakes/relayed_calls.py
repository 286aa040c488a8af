"""The stream of relayed calls on a call of gRPC whose writes and answers a test decides."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ugc.relay.v1.relay_service_pb2 import RelayRequest

from gateway.errors import Pair
from gateway.relay.calls import RelayedCall
from gateway.relay.frames import Declaration
from gateway.relay.stream import RelayStream
from gateway.reply import Reply

METHOD = "/package.Service/Method"
FOREVER = 1_000.0


class FakeCall:
    """A call of gRPC whose writes wait until they are allowed."""

    def __init__(self, writes: int) -> None:
        self.frames: list[RelayRequest] = []
        self.answers: asyncio.Queue[object] = asyncio.Queue()
        self._allowed = asyncio.Semaphore(writes)
        self._reading: asyncio.Task[object] | None = None
        self.is_closed = False

    async def read(self) -> object:
        """Return the next answer."""
        self._reading = asyncio.create_task(self.answers.get())
        answer = await self._reading
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def write(self, request: bytes) -> None:
        """Take a frame when it is allowed."""
        self.frames.append(RelayRequest.FromString(request))
        await self._allowed.acquire()

    async def done_writing(self) -> None:
        """Note that no frame follows."""
        self.is_closed = True

    def allow(self, writes: int) -> None:
        """Allow more writes."""
        for _write in range(writes):
            self._allowed.release()

    def cancel(self) -> bool:
        """End the call, as gRPC does."""
        return self._reading is not None and self._reading.cancel()


class FakeCaller:
    """Keeps the verdict of its call."""

    def __init__(self) -> None:
        self.verdict: Reply | Exception | None = None

    def metadata(self) -> Sequence[Pair]:
        """Return no metadata."""
        return ()

    def metadata_fields(self, _names: frozenset[str]) -> bytes:
        """Return no metadata."""
        return b""

    def answered(self, reply: Reply) -> None:
        """Keep a response."""
        self.verdict = reply

    def failed(self, error: Exception) -> None:
        """Keep an error."""
        self.verdict = error


class Calls:
    """A stream on a fake call, and the calls that it gave back."""

    def __init__(self, writes: int, frame_bytes_max: int = 10_000) -> None:
        self.call = FakeCall(writes)
        self.alone: list[RelayedCall] = []
        limits = Declaration(frozenset(), frozenset({METHOD}), 1_000, frame_bytes_max, 1_000)
        self.stream = RelayStream(self.call, limits, self._alone)
        self.running = asyncio.create_task(self.stream.run())

    def begin(self, message: bytes = b"", limit: float = FOREVER) -> tuple[FakeCaller, RelayedCall]:
        """Begin a call."""
        caller = FakeCaller()
        begun = self.stream.begin(caller, METHOD, message, b"", None, limit)
        assert begun is not None
        return caller, begun

    def _alone(self, call: RelayedCall) -> asyncio.Task[None]:
        self.alone.append(call)
        return asyncio.create_task(asyncio.sleep(0))


async def settle() -> None:
    """Let every task that can go on do so."""
    for _turn in range(20):
        await asyncio.sleep(0)


def messages(calls: Calls) -> list[list[bytes]]:
    """Return the messages of each frame."""
    return [[call.message for call in frame.calls] for frame in calls.call.frames]
