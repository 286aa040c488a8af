"""Listening at an address, and why that fails: the gRPC library says only that it did."""

from __future__ import annotations

import errno
import socket

import grpc

from common.settings import Address

# What of these happens at one of a host's addresses another address does not make good.
REFUSALS = (errno.EADDRINUSE, errno.EACCES)


def listen(server: grpc.aio.Server, address: Address) -> int:
    """Add a port to a server and return its number; OSError says why it cannot be had."""
    failures = binding_failures(address)
    for error in failures:
        if error.errno in REFUSALS:
            raise OSError(f"{address}: {error.strerror}")
    try:
        return server.add_insecure_port(str(address))
    except RuntimeError as error:
        raise OSError(f"{address}: {failures[0].strerror if failures else error}") from error


def binding_failures(address: Address) -> list[OSError]:
    """Try each address of a host: a name may stand for several, and the library is content with one of them."""
    try:
        found = socket.getaddrinfo(*address, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        return [error]
    except UnicodeError:  # of a name that no host can have
        return [OSError(errno.EINVAL, "not a valid host name")]
    failures = []
    for family, kind, protocol, _name, place in found:
        try:
            with socket.socket(family, kind, protocol) as probe:
                # As servers do: what remains of closed connections does not hold a port.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(place)
                probe.listen()
        except OSError as error:
            failures.append(error)
    return failures
