"""Relayed calls: each is admitted, authenticated and answered as the same call alone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import perf_counter
from typing import TypeAlias

from google.rpc.code_pb2 import DEADLINE_EXCEEDED, INTERNAL, OK

from common.trace_context import is_sampled
from services.ingest.call import Call, Failure, Response, StatusError
from services.ingest.errors import resource_exhausted
from services.ingest.limits.admission import Admission, RejectedError
from services.ingest.limits.memory_budget import SMALL_BYTES_MAX, MemoryBudget
from services.ingest.metrics import CallMetrics
from services.ingest.relay import frames
from services.ingest.tracing import CallTracing

Finish: TypeAlias = Callable[[Response | Exception], None]
# The text of the gRPC library.
TIMED_OUT = Failure(DEADLINE_EXCEEDED, "Deadline Exceeded", ())


@dataclass(frozen=True)
class Method:
    """A method that may be relayed."""

    # Answers a call.
    respond: Callable[[bytes, Call], Awaitable[Response]]
    metrics: CallMetrics
    # Does the same without a task: starts, and calls the function with the result.
    start: Callable[[bytes, Call, Finish], None] | None = None


class Intake:
    """Begins the calls of all streams, within the limits of the process."""

    def __init__(
        self, admission: Admission, memory: MemoryBudget, retry_seconds: float, tracing: CallTracing | None = None
    ) -> None:
        self._tracing = tracing
        self.admission = admission
        self.memory = memory
        self.retry_seconds = retry_seconds

    def trace(self, call: Call, metrics: CallMetrics) -> None:
        """Open the span of a call that has arrived, if it is sampled; `metrics` are those of its method."""
        if self._tracing is not None and is_sampled(call.traceparent):
            call.span = self._tracing.open(metrics.method, call.traceparent, call.request_id)

    def begin(self, relayed: RelayedCall, method: Method) -> None:
        """Admit and start a call, which may end it at once."""
        message = relayed.message
        size = len(message)
        try:
            self.admission.admit(relayed.peer, size)
        except RejectedError as error:
            relayed.finish(StatusError(resource_exhausted(str(error), self.retry_seconds)))
            return
        relayed.admitted = self.admission, size
        if method.start is None or size > SMALL_BYTES_MAX:
            relayed.task = asyncio.get_running_loop().create_task(self._run(relayed, method, message))
            return
        try:
            method.start(message, relayed.call, relayed.finish)
        except Exception as error:  # noqa: BLE001 -- the end of this call, whatever it is; others go on
            relayed.finish(error)

    async def _run(self, relayed: RelayedCall, method: Method, message: bytes) -> None:
        try:
            async with self.memory.reserve(len(message)):
                result: Response | Exception = await method.respond(message, relayed.call)
        except Exception as error:  # noqa: BLE001 -- the end of this call, whatever it is; others go on
            result = error
        relayed.finish(result)


class RelayedCall:
    """A call of a stream; `finish` or `cancel` ends it."""

    __slots__ = (
        "_began",
        "_ended",
        "_metrics",
        "_number",
        "_on_end",
        "admitted",
        "call",
        "deadline",
        "message",
        "peer",
        "task",
    )

    def __init__(
        self,
        number: int,
        peer: str,
        call: Call,
        message: bytes,
        deadline: float,
        metrics: CallMetrics,
        on_end: Callable[[int, bytes | None], None],
    ) -> None:
        """`on_end` gets the number of the call and its encoded answer, None if it was cancelled."""
        self._began = perf_counter()
        self._number = number
        self._metrics = metrics
        self._on_end = on_end
        self._ended = False
        # Counted in the limit of bytes until the call ends.
        self.message = message
        self.peer = peer
        self.call = call
        # By the event loop's clock.
        self.deadline = deadline
        self.admitted: tuple[Admission, int] | None = None
        self.task: asyncio.Task[None] | None = None

    def finish(self, result: Response | Exception) -> None:
        """Answer the call; an event of an ended call that Kafka has already is not answered."""
        if self._ended:
            return
        if isinstance(result, Response):
            code, answer = OK, frames.success(self._number, self.call, result)
        elif isinstance(result, StatusError):
            code = result.status.code
            answer = frames.failed(self._number, self.call.failure(result.status))
        else:
            code, answer = INTERNAL, frames.failed(self._number, self.call.unexpected(result))
        self._end(code, answer)

    def expire(self) -> None:
        """End the call because its deadline has passed."""
        self._stop()
        self._end(DEADLINE_EXCEEDED, frames.failed(self._number, TIMED_OUT))

    def cancel(self) -> None:
        """End the call without an answer."""
        self._stop()
        self._end(self.call.cancelled_code(), None)

    def _stop(self) -> None:
        if self.task is not None:
            self.task.cancel()

    def _end(self, code: int, answer: bytes | None) -> None:
        self._ended = True
        self._metrics.ended(code, perf_counter() - self._began, self.call.span)
        if not self.call.are_events_counted:
            self._metrics.refused(code, self.message)
            self.call.are_events_counted = True
        self.message = b""
        if self.admitted is not None:
            admission, size = self.admitted
            admission.release(self.peer, size)
        self._on_end(self._number, answer)
