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

    def begin(self) -> None:
        """Begin to check, unless that has begun already or nothing waits to be sent."""
        if self._timer is not None or self.transport is None:
            return
        if self.transport.get_write_buffer_size():
            self._waiting = unsent(self.transport)
            self._timer = self._loop.call_later(self._seconds, self._check)

    def end(self) -> None:
        """Forget the connection."""
        self.transport = None
        if self._timer is not None:
            self._timer.cancel()

    def _check(self) -> None:
        self._timer = None
        if self.transport is None:
            return
        before, now = self._waiting, unsent(self.transport)
        is_stuck = not self.is_moving and before - now < min(before, BYTES_MIN)
        if is_stuck and self.transport.get_write_buffer_size():
            log_limited(logging.INFO, "a client did not read its response", bytes_left=now)
            reset(self.transport)
            return
        self.is_moving = False
        self.begin()


def unsent(transport: asyncio.Transport) -> int:
    """Return the bytes that a client has not read, including those in the buffers of the system."""
    connection = transport.get_extra_info("socket")
    try:
        queued = fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(QUEUED.size))
    except (OSError, AttributeError):  # closed meanwhile, or not a TCP socket
        return transport.get_write_buffer_size()
    return transport.get_write_buffer_size() + int(QUEUED.unpack(queued)[0])


def reset(transport: asyncio.Transport) -> None:
    """Reset a connection; after an ordinary close the system would keep its unsent bytes."""
    connection = transport.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
    transport.abort()
