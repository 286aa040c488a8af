"""A call on a stream, and what a stream needs of gRPC."""

from __future__ import annotations

import asyncio
from typing import Protocol

from gateway.reply import Caller


class StreamCall(Protocol):
    """What a stream needs of gRPC's call."""

    async def read(self) -> object:
        """Return the next frame, or EOF."""

    async def write(self, request: bytes) -> None:
        """Write a frame."""

    async def done_writing(self) -> None:
        """Close this side of the call."""

    def cancel(self) -> bool:
        """End the call."""


class Canceller(Protocol):
    """The stream of a call."""

    def cancel(self, call: RelayedCall) -> None:
        """Forget the call."""


class RelayedCall:
    """A call on a stream, until its verdict."""

    __slots__ = ("caller", "deadline", "field", "id", "message", "method", "seconds", "stream", "task")

    def __init__(
        self, stream: Canceller, caller: Caller, method: str, message: bytes, seconds: float | None, deadline: float
    ) -> None:
        self.stream = stream
        # None when the verdict has been given, or nobody waits for it any more.
        self.caller: Caller | None = caller
        self.method = method
        self.message = message
        self.seconds = seconds
        self.deadline = deadline
        self.id = 0
        # The field of its frame, empty when it has been handed over.
        self.field = b""
        # What makes the call alone, when the stream did not take it.
        self.task: asyncio.Task[None] | None = None

    def abandon(self) -> None:
        """Cancel the call, whose verdict nobody waits for any more."""
        self.caller = None
        if self.task is not None:
            self.task.cancel()
        else:
            self.stream.cancel(self)
