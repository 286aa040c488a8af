"""What waits to be sent on a stream: calls, and the ids of cancelled ones."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from gateway.relay.calls import RelayedCall
from gateway.relay.frames import cancelled_field

# An id takes at most three bytes, and its share of the field around it.
CANCELLED_BYTES_MAX = 8


class Outbox:
    """The calls and cancellations of a stream that are in no frame yet."""

    def __init__(self, frame_bytes_max: int) -> None:
        self._frame_bytes_max = frame_bytes_max
        self._calls: deque[RelayedCall] = deque()
        self._cancelled: list[int] = []
        # The bytes of the fields of the calls.
        self.bytes = 0

    def __len__(self) -> int:
        """Return how many calls and cancellations wait."""
        return len(self._calls) + len(self._cancelled)

    def add(self, call: RelayedCall) -> None:
        """Add a call with the field of its frame."""
        self._calls.append(call)
        self.bytes += len(call.field)

    def add_cancelled(self, identity: int) -> None:
        """Add the id of a call that the server has, and that is cancelled."""
        self._cancelled.append(identity)

    def clear(self) -> Iterable[RelayedCall]:
        """Return the calls that wait, and keep nothing."""
        calls, self._calls = self._calls, deque()
        self._cancelled.clear()
        self.bytes = 0
        return calls

    def next_frame(self) -> bytes:
        """Return what waits, as far as a frame can hold it; empty when only abandoned calls wait."""
        fields: list[bytes] = []
        room = self._frame_bytes_max
        if self._cancelled:
            ids = self._cancelled[: max(1, room // CANCELLED_BYTES_MAX)]
            del self._cancelled[: len(ids)]
            fields.append(cancelled_field(ids))
            room -= len(fields[0])
        calls = self._calls
        while calls and (not fields or len(calls[0].field) <= room):
            call = calls.popleft()
            field, call.field = call.field, b""
            self.bytes -= len(field)
            if call.caller is not None:
                fields.append(field)
                room -= len(field)
        return b"".join(fields)
