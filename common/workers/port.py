"""Holds the port of a server with several workers, so that no other server shares it by accident.

The workers bind the port with SO_REUSEPORT, which also lets any other process of the same user bind it that way. The
parent therefore binds it without the option first, which fails while any other process has the port, and only then
allows sharing. It keeps a socket that does not listen, so that the port stays taken while all workers restart.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Iterator

from common.settings import Address

# Errors that fail the start even if another address of the host can be bound.
FATAL_ERRORS = (errno.EADDRINUSE, errno.EACCES)


@contextlib.contextmanager
def held_port(address: Address) -> Iterator[Address]:
    """Hold an address for the workers of this process; yield it with the port that port 0 became.

    OSError with the reason when another process has the port, or when this machine does not have the address.
    """
    try:
        found = socket.getaddrinfo(*address, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except UnicodeError as error:
        raise OSError(errno.EINVAL, "not a valid host name") from error
    port, failures = address.port, []
    with contextlib.ExitStack() as held:
        for family, _kind, _protocol, _name, (host, _port, *scope) in found:
            try:
                taken = held.enter_context(take(family, (host, port, *scope)))
            except OSError as error:
                if error.errno in FATAL_ERRORS:
                    raise
                failures.append(error)
            else:
                # All addresses of a host have the port that the system chose for the first one.
                port = taken.getsockname()[1]
        if len(failures) == len(found):
            raise failures[0]
        yield Address(address.host, port)


def take(family: int, address: tuple[object, ...]) -> socket.socket:
    """Return a socket that holds an address, which only sockets with SO_REUSEPORT can share; OSError if it is taken."""
    with bindable(family) as exclusive:
        exclusive.bind(address)
        # Of two processes that are both here at the same moment, only one succeeds.
        exclusive.listen()
        exclusive.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held = bindable(family)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind(exclusive.getsockname())
        # Otherwise a process that sets SO_REUSEADDR, as servers do, could bind the port while no worker listens.
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    return held


def bindable(family: int) -> socket.socket:
    """Return a socket for which connections in TIME_WAIT do not make a port look taken."""
    created = socket.socket(family, socket.SOCK_STREAM)
    created.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return created
