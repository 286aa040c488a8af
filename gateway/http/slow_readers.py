"""A limit for clients that do not take their answer: without one the bytes wait for them indefinitely."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import socket
import struct
import termios

from common.logs import log_limited

# What a client must take in each period, unless less is left.
BYTES_MIN = 16_384
HELD = struct.Struct("i")
# On, for no seconds: closing resets the connection.
NO_LINGER = struct.pack("ii", 1, 0)


class WriteWatch:
    """Looks now and then at what a connection still has to send, as long as that is anything."""

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        """Cut the connection when the client takes too little within `seconds`."""
        self._loop = loop
        self._seconds = seconds
        self._waiting = 0
        self._timer: asyncio.TimerHandle | None = None
        # Whether most of it was taken since the last look; more may have been written since.
        self.is_moving = False
        self.transport: asyncio.Transport | None = None

    def begin(self) -> None:
        """Begin to look, unless that is done already or nothing waits to be sent."""
        if self._timer is not None or self.transport is None:
            return
        if self.transport.get_write_buffer_size():
            self._waiting = unsent(self.transport)
            self._timer = self._loop.call_later(self._seconds, self._look)

    def end(self) -> None:
        """Forget the connection."""
        self.transport = None
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        self._timer = None
        if self.transport is None:
            return
        before, now = self._waiting, unsent(self.transport)
        is_stuck = not self.is_moving and before - now < min(before, BYTES_MIN)
        if is_stuck and self.transport.get_write_buffer_size():
            log_limited(logging.INFO, "a client did not take its answer", bytes_left=now)
            reset(self.transport)
            return
        self.is_moving = False
        self.begin()


def unsent(transport: asyncio.Transport) -> int:
    """Return the bytes that a client has not taken, those that the system holds for it included."""
    connection = transport.get_extra_info("socket")
    try:
        held = fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(HELD.size))
    except (OSError, AttributeError):  # closed meanwhile, or not a socket of TCP
        return transport.get_write_buffer_size()
    return transport.get_write_buffer_size() + int(HELD.unpack(held)[0])


def reset(transport: asyncio.Transport) -> None:
    """End a connection at once; without a reset the system would go on holding what is not sent."""
    connection = transport.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
    transport.abort()
