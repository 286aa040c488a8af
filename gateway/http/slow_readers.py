"""A limit for clients that do not read their response: without one its bytes would be buffered indefinitely."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import socket
import struct
import termios

from common.logs import log_limited

# What a client must read in each period, unless less is left.
BYTES_MIN = 16_384
QUEUED = struct.Struct("i")
# SO_LINGER on, with 0 seconds: closing resets the connection.
NO_LINGER = struct.pack("ii", 1, 0)


class WriteWatchdog:
    """Checks periodically that a client reads what a connection still has to send."""

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        """Reset the connection when the client reads too little within `seconds`."""
        self._loop = loop
        self._seconds = seconds
        self._waiting = 0
        self._timer: asyncio.TimerHandle | None = None
        # Whether most of it was read since the last check; more may have been written since.
        self.is_moving = False
        self.transport: asyncio.Transport | None = None
        # The transport of the encrypted bytes, when that is of TLS, which passes them on without waiting.
        self.lower: asyncio.Transport | None = None
        self._is_closing = False

    def begin(self) -> None:
        """Begin to check, unless that has begun already or nothing waits to be sent."""
        if self._timer is not None or self.transport is None:
            return
        if self._is_closing or buffered(self.transport, self.lower):
            self._waiting = unsent(self.transport, self.lower)
            self._timer = self._loop.call_later(self._seconds, self._check)

    def close(self) -> None:
        """Check also that the client closes its side of TLS, once it has read everything: TLS waits for that."""
        if self.lower is not None:
            self._is_closing = True
            self.begin()

    def end(self) -> None:
        """Forget the connection."""
        self.transport = None
        if self._timer is not None:
            self._timer.cancel()

    def _check(self) -> None:
        self._timer = None
        if self.transport is None:
            return
        before, now = self._waiting, unsent(self.transport, self.lower)
        is_stuck = not self.is_moving and before - now < min(before, BYTES_MIN)
        waiting = buffered(self.transport, self.lower)
        if is_stuck and waiting:
            log_limited(logging.INFO, "a client did not read its response", bytes_left=now)
            reset(self.transport)
            return
        if self._is_closing and not waiting and self.lower is not None:
            # What the system still has to send is sent, as after the close of a connection without TLS.
            self.lower.abort()
            return
        self.is_moving = False
        self.begin()


def buffered(transport: asyncio.Transport, lower: asyncio.Transport | None) -> int:
    """Return the bytes that this process has not given to the system yet."""
    return transport.get_write_buffer_size() + (lower.get_write_buffer_size() if lower is not None else 0)


def unsent(transport: asyncio.Transport, lower: asyncio.Transport | None) -> int:
    """Return the bytes that a client has not read, including those in the buffers of the system."""
    connection = transport.get_extra_info("socket")
    try:
        queued = fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(QUEUED.size))
    except (OSError, AttributeError):  # closed meanwhile, or not a TCP socket
        return buffered(transport, lower)
    return buffered(transport, lower) + int(QUEUED.unpack(queued)[0])


def reset(transport: asyncio.Transport) -> None:
    """Reset a connection; after an ordinary close the system would keep its unsent bytes."""
    connection = transport.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
    transport.abort()
