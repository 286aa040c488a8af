"""One open stream: calls in, answers out, each call with a deadline and a verdict of its own.

At low load a frame is written at once. While others are being written, and for a moment when calls come close to one
another, calls wait, and then share a frame.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

import grpc
from google.protobuf.message import DecodeError
from google.rpc import code_pb2

from common.pacing import Pacing
from gateway.call_errors import CONNECTION_LOST, DEADLINE_EXCEEDED, call_error, verdict
from gateway.errors import CallError, rpc_error
from gateway.relay.calls import RelayedCall, StreamCall
from gateway.relay.frames import ID_MAX, Declaration, Response, ResponseFrame, call_field, method_field, pairs_of
from gateway.relay.outbox import Outbox
from gateway.reply import Caller, Reply

# How long a frame may wait for the server to read; then the stream is broken.
FRAME_SECONDS_MAX = 5.0
# A frame of so many bytes does not wait for more calls: its own would be delayed, and little would be gained.
GATHERED_BYTES_MAX = 65_536
# The library's own text, with INTERNAL, for a call on which a write has failed.
WRITE_FAILED = "Internal error from Core"
# The timers of the event loop count in milliseconds.
CLOCK_SECONDS = 0.001


class RelayStream:
    """Calls on one stream; `alone` makes a call that the stream has not taken as a unary one."""

    def __init__(
        self, call: StreamCall, declaration: Declaration, alone: Callable[[RelayedCall], asyncio.Task[None]]
    ) -> None:
        self.declaration = declaration
        self._call = call
        self._alone = alone
        self._loop = asyncio.get_running_loop()
        # Done when the server has announced that it ends the stream.
        self.draining: asyncio.Future[None] = self._loop.create_future()
        self._method_fields = {method: method_field(method) for method in declaration.methods}
        self._calls: dict[int, RelayedCall] = {}
        self._outbox = Outbox(declaration.frame_bytes_max)
        self._pacing = Pacing()
        self._last_id = 0
        self._is_open, self._is_stuck = True, False
        # The next check of deadlines; no call has an earlier one.
        self._due = math.inf
        self._timer: asyncio.TimerHandle | None = None

    def takes(self, method: str, message: bytes) -> bool:
        """Whether the stream takes a call now."""
        limits = self.declaration
        return (
            self._is_open
            and method in self._method_fields
            and len(message) <= limits.message_bytes_max
            and len(self._calls) < limits.calls_max
            and self._outbox.bytes < limits.frame_bytes_max
        )

    def calls_in_flight(self) -> int:
        """Return how many calls have no verdict yet."""
        return len(self._calls)

    def begin(
        self, caller: Caller, method: str, message: bytes, metadata: bytes, seconds: float | None, limit: float
    ) -> RelayedCall | None:
        """Begin a call with fields of metadata, which ends after `limit` seconds; None when no frame can hold it.

        `seconds` is the timeout that the server is given, None for none.
        """
        identity = self._next_id()
        milliseconds = max(1, int(seconds * 1_000)) if seconds else 0
        field = call_field(identity, self._method_fields[method], message, metadata, milliseconds)
        if len(field) > self.declaration.frame_bytes_max:
            return None
        call = RelayedCall(self, caller, method, message, seconds, self._loop.time() + limit)
        call.id, call.field = identity, field
        self._calls[identity] = call
        self._outbox.add(call)
        self._wake_writer()
        if call.deadline < self._due:
            self._check_at(call.deadline)
        return call

    def cancel(self, call: RelayedCall) -> None:
        """Forget a call; the server is informed by the next frame when it has the call."""
        call.caller = None
        if self._calls.get(call.id) is not call:
            return
        del self._calls[call.id]
        if not call.field and self._is_open:
            self._outbox.add_cancelled(call.id)
            self._wake_writer()

    async def run(self) -> None:
        """Carry calls until the stream ends; then each call gets its verdict."""
        writing = asyncio.create_task(self._write())
        error: CallError | None = rpc_error(code_pb2.UNAVAILABLE, CONNECTION_LOST)
        try:
            while (frame := await self._call.read()) is not grpc.aio.EOF:
                assert isinstance(frame, bytes)  # noqa: S101 -- the call has no deserializer
                self._answer(ResponseFrame.FromString(frame))
            error = None  # the server has ended the stream, and processed no call that it has not answered
        except grpc.aio.AioRpcError as broken:
            # A write that fails because the stream has ended hides the status of that end.
            if broken.details() != WRITE_FAILED:
                error = call_error(broken)
        except DecodeError:
            pass  # what follows on the stream cannot be read either
        except asyncio.CancelledError:
            if not self._is_stuck:
                raise
        finally:
            writing.cancel()
            self._call.cancel()
            self._end(error)

    def _answer(self, frame: Response) -> None:
        """Give the verdicts of a frame."""
        if frame.draining:
            self._drain()
        calls = self._calls
        for answer in frame.answers:
            call = calls.pop(answer.id, None)
            if call is None or call.caller is None:
                continue
            if answer.not_processed:
                call.task = self._alone(call)
                continue
            caller, call.caller = call.caller, None
            code = answer.status_code
            try:
                initial = pairs_of(answer.initial_metadata)
                trailing = pairs_of(answer.metadata)
                if code == code_pb2.OK:
                    caller.answered(Reply(answer.message, initial, trailing))
                else:
                    caller.failed(verdict(code, answer.status_message, initial, trailing))
            except Exception as error:  # noqa: BLE001 -- the end of this call, whatever it is; others go on
                caller.failed(error)

    def _drain(self) -> None:
        """Make the calls that wait alone, and let the writer close this side: the server then ends the stream."""
        self._is_open = False
        if not self.draining.done():
            self.draining.set_result(None)
        for call in self._outbox.clear():
            if self._calls.pop(call.id, None) is call and call.caller is not None:
                call.task = self._alone(call)
        self._pacing.wake_at_once()

    def _end(self, error: CallError | None) -> None:
        """Give the calls that the server has an error, if the stream has one; make the others alone."""
        self._is_open = False
        if self._timer is not None:
            self._timer.cancel()
        calls, self._calls = list(self._calls.values()), {}
        for call in calls:
            if call.caller is None:
                continue
            if call.field or error is None:
                call.task = self._alone(call)
                continue
            caller, call.caller = call.caller, None
            caller.failed(CallError(error.rpc_status, error.headers))

    async def _write(self) -> None:
        """Write frames, one after the other, until cancelled or the stream ends."""
        has_rest = False
        try:
            while self._is_open:
                if not self._outbox:
                    await self._pacing.wait()
                # What did not fit into the frame before has waited already.
                if not has_rest and self._outbox.bytes < GATHERED_BYTES_MAX:
                    await self._pacing.gather()
                self._pacing.sent(len(self._outbox))
                frame = self._outbox.next_frame()
                has_rest = bool(self._outbox)
                if frame:
                    async with asyncio.timeout(FRAME_SECONDS_MAX):
                        await self._call.write(frame)
            await self._call.done_writing()
        except TimeoutError:
            self._is_stuck = True  # the server does not read
            self._call.cancel()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            pass  # the stream has ended, which `run` handles

    def _wake_writer(self) -> None:
        """Wake the writer, because something waits."""
        if self._outbox.bytes < GATHERED_BYTES_MAX:
            self._pacing.wake()
        else:
            self._pacing.wake_at_once()

    def _next_id(self) -> int:
        """Return an id that no call has which waits for its answer."""
        while True:
            self._last_id = self._last_id % ID_MAX + 1
            if self._last_id not in self._calls:
                return self._last_id

    def _check_at(self, deadline: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._due = deadline
        self._timer = self._loop.call_at(deadline, self._expire)

    def _expire(self) -> None:
        """End the calls whose deadline has passed."""
        now = self._loop.time() + CLOCK_SECONDS
        self._due, self._timer = math.inf, None
        for call in [call for call in self._calls.values() if call.deadline <= now]:
            caller = call.caller
            self.cancel(call)
            if caller is not None:
                caller.failed(rpc_error(code_pb2.DEADLINE_EXCEEDED, DEADLINE_EXCEEDED))
        if self._calls:
            self._check_at(min(call.deadline for call in self._calls.values()))
