"""One relay stream: reads frames of calls, and writes the answers that are ready at the same moment as one frame.

When answers come close to one another, they gather for a moment.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Protocol

import grpc
from google.rpc.code_pb2 import RESOURCE_EXHAUSTED, UNAVAILABLE, UNIMPLEMENTED
from ugc.relay.v1 import relay_service_pb2

from common.pacing import Pacing
from services.ingest.call import Call, Failure, StatusError
from services.ingest.errors import resource_exhausted
from services.ingest.limits.time_slices import SLICE_SECONDS
from services.ingest.relay import frames, limits
from services.ingest.relay.calls import Intake, Method, RelayedCall

# The text of the gRPC library.
UNKNOWN_METHOD = Failure(UNIMPLEMENTED, "Method not found!", ())
STREAM_ENDS = Failure(UNAVAILABLE, "the relay stream ends, send the call again", ())
TOO_MANY = f"{limits.CALLS_MAX} calls of this stream are in progress, retry later"
TOO_LARGE = Failure(
    RESOURCE_EXHAUSTED, f"a relayed message must be at most {limits.MESSAGE_BYTES_MAX} bytes, send the call alone", ()
)
TOO_MUCH_METADATA = Failure(
    RESOURCE_EXHAUSTED,
    f"the metadata of a call must be at most {limits.METADATA_ENTRIES_MAX // 2} values of "
    f"{limits.METADATA_BYTES_MAX} bytes",
    (),
)


class Connection(Protocol):
    """The part of grpc.aio's context that is used here."""

    async def read(self) -> object:
        """Return the next message as bytes, or grpc.aio.EOF."""

    async def write(self, message: bytes) -> None:
        """Send a message; returns when more can be sent."""


class RelayStream:
    """The calls of one stream, from `read` to `write`, which run at the same time."""

    def __init__(
        self, connection: Connection, peer: str, methods: Mapping[str, Method], intake: Intake, declaration: bytes
    ) -> None:
        self._connection = connection
        self._peer = peer
        self._methods = methods
        self._intake = intake
        self._loop = asyncio.get_running_loop()
        self._calls: dict[int, RelayedCall] = {}
        # Encoded fields of the next frames.
        self._answers: list[bytes] = [declaration]
        self._pacing = Pacing()
        self._error: Exception | None = None
        self._is_draining = False
        self._drain_timer: asyncio.TimerHandle | None = None
        # Whether the client had its time to close its side.
        self._has_waited = False
        # Whether no frame is being read or processed, and none will be.
        self._has_ended = False
        self._is_processing = False
        # Whether calls that are tasks were begun, and have not run yet.
        self._has_tasks = False
        self._reader: asyncio.Future[None] | None = None
        self._next_tick: asyncio.TimerHandle | None = None
        self.began_at = self._loop.time()
        # When the write that is in progress began.
        self.writing_since: float | None = None

    async def read(self) -> None:
        """Read frames and begin their calls until the client closes its side."""
        try:
            while (frame := await self._next_frame()) is not None:
                self._is_processing = True
                await self._process(frame)
                self._is_processing = False
                if self._is_draining:
                    self._pacing.wake_at_once()
        except Exception as error:  # noqa: BLE001 -- `write` raises it and so ends the stream
            self._error = error
        self._has_ended, self._is_processing = True, False
        self._pacing.wake_at_once()

    async def write(self) -> None:
        """Send answers until the stream has ended and every call is answered; raise FrameError if a frame is bad."""
        while True:
            if self._error is not None:
                raise self._error
            if self._answers:
                if self._calls:
                    await self._pacing.gather()
                self._pacing.sent(len(self._answers))
                frame = self._take_answers()
                self.writing_since = self._loop.time()
                await self._connection.write(frame)
                self.writing_since = None
                self._wake_reader()
            elif self._is_over():
                return
            else:
                await self._pacing.wait()

    def drain(self) -> None:
        """Announce the end of the stream: calls from now on are not processed, those before are answered."""
        if not self._is_draining:
            self._is_draining = True
            self._answers.append(frames.DRAINING)
            self._drain_timer = self._loop.call_later(limits.DRAIN_SECONDS_MAX, self._stop_waiting)
            self._pacing.wake_at_once()

    @property
    def unread_bytes(self) -> int:
        """The bytes of the answers that wait for the client to read."""
        return sum(map(len, self._answers))

    def close(self) -> None:
        """Cancel the calls without an answer, because the stream has ended."""
        for timer in filter(None, (self._next_tick, self._drain_timer)):
            timer.cancel()
        for call in list(self._calls.values()):
            call.cancel()

    def _is_over(self) -> bool:
        return (self._has_ended or self._has_waited) and not self._calls and not self._is_processing

    def _stop_waiting(self) -> None:
        self._has_waited = True
        self._pacing.wake_at_once()

    async def _next_frame(self) -> bytes | None:
        """Return the next frame, None at the end; wait while the client does not read its answers."""
        while len(self._answers) >= limits.CALLS_MAX or self.unread_bytes >= limits.UNREAD_BYTES_MAX:
            self._reader = self._loop.create_future()
            await self._reader
        frame = await self._connection.read()
        return frame if isinstance(frame, bytes) else None

    async def _process(self, frame: bytes) -> None:
        request = frames.parse(frame)
        # Those of earlier frames first, as the calls of this one may need their places.
        of_this_frame = [number for number in request.cancelled if not self._cancel(number)]
        until = perf_counter() + SLICE_SECONDS
        for count, given in enumerate(request.calls, 1):
            self._begin(given)
            if not count % limits.CALLS_PER_CHECK and (self._has_tasks or perf_counter() > until):
                # Other calls get their turn, and so do the tasks, whose time is not measured here.
                await asyncio.sleep(0)
                self._has_tasks, until = False, perf_counter() + SLICE_SECONDS
        for number in of_this_frame:
            self._cancel(number)

    def _cancel(self, number: int) -> bool:
        """Cancel a call; return whether there is one with this id."""
        call = self._calls.get(number)
        if call is not None:
            call.cancel()
        return call is not None

    def _begin(self, given: relay_service_pb2.Call) -> None:
        number, message = given.id, given.message
        if not number or number in self._calls:
            raise frames.FrameError(
                grpc.StatusCode.INVALID_ARGUMENT, f"the id of a call is not valid or in use: {number}"
            )
        if self._is_draining:
            self._add(frames.not_processed(number, STREAM_ENDS))
            return
        metadata = given.metadata[: limits.METADATA_ENTRIES_MAX + 1]
        method = self._methods.get(given.method)
        if failure := refusal(method, message, metadata):
            if method is not None:
                method.metrics.ended(failure.code, 0.0)
                method.metrics.refused(failure.code, message)
            self._add(frames.failed(number, failure))
            return
        assert method is not None  # noqa: S101 -- otherwise there is a failure
        deadline = math.inf
        if given.timeout_milliseconds:
            deadline = self._loop.time() + given.timeout_milliseconds / 1000
            if self._next_tick is None:
                self._next_tick = self._loop.call_later(limits.DEADLINE_TICK_SECONDS, self._tick)
        begun = Call(frames.read_metadata(metadata), self._peer, deadline)
        self._intake.trace(begun, method.metrics)
        call = RelayedCall(number, self._peer, begun, message, deadline, method.metrics, self._on_end)
        if len(self._calls) >= limits.CALLS_MAX:
            call.finish(StatusError(resource_exhausted(TOO_MANY, self._intake.retry_seconds)))
            return
        self._calls[number] = call
        self._intake.begin(call, method)
        self._has_tasks |= call.task is not None

    def _on_end(self, number: int, answer: bytes | None) -> None:
        self._calls.pop(number, None)
        if answer is not None:
            self._add(answer)
        elif not self._calls:
            self._pacing.wake_at_once()

    def _add(self, answer: bytes) -> None:
        self._answers.append(answer)
        if self._calls:
            self._pacing.wake()
        else:
            # No call in progress is left whose answer could be added.
            self._pacing.wake_at_once()

    def _take_answers(self) -> bytes:
        """Return the next frame: all answers, or as many as fit."""
        answers, size = self._answers, 0
        for count, answer in enumerate(answers):
            size += len(answer)
            if size > limits.ANSWER_FRAME_BYTES_MAX and count:
                self._answers = answers[count:]
                return b"".join(answers[:count])
        self._answers = []
        return b"".join(answers)

    def _tick(self) -> None:
        """End the calls whose deadline has passed."""
        now = self._loop.time()
        for call in [call for call in self._calls.values() if call.deadline <= now]:
            call.expire()
        self._next_tick = self._loop.call_later(limits.DEADLINE_TICK_SECONDS, self._tick) if self._calls else None

    def _wake_reader(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)


def refusal(method: Method | None, message: bytes, metadata: Sequence[bytes]) -> Failure | None:
    """Return the failure of a call that cannot be relayed."""
    if method is None:
        return UNKNOWN_METHOD
    if len(message) > limits.MESSAGE_BYTES_MAX:
        return TOO_LARGE
    if len(metadata) > limits.METADATA_ENTRIES_MAX or sum(map(len, metadata)) > limits.METADATA_BYTES_MAX:
        return TOO_MUCH_METADATA
    return None
