"""Binds the server to an address, and finds the reason of a failure, which the gRPC library does not report."""

from __future__ import annotations

import errno
import socket

import grpc

from common.settings import Address
from common.workers.port import FATAL_ERRORS


def listen(
    server: grpc.aio.Server,
    address: Address,
    credentials: grpc.ServerCredentials | None = None,
    *,
    is_shared: bool = False,
) -> int:
    """Bind a server to an address and return the port; raise OSError with the reason if that fails.

    With credentials the server accepts TLS only. An address that is shared with other workers is held by their parent.
    """
    failures = [] if is_shared else bind_errors(address)
    for error in failures:
        if error.errno in FATAL_ERRORS:
            raise OSError(f"{address}: {error.strerror}")
    try:
        if credentials is not None:
            return server.add_secure_port(str(address), credentials)
        return server.add_insecure_port(str(address))
    except RuntimeError as error:
        raise OSError(f"{address}: {failures[0].strerror if failures else error}") from error


def bind_errors(address: Address) -> list[OSError]:
    """Try to bind each address of a host, of which the library requires only one; return the errors."""
    try:
        found = socket.getaddrinfo(*address, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        return [error]
    except UnicodeError:  # not encodable as a host name
        return [OSError(errno.EINVAL, "not a valid host name")]
    failures = []
    for family, kind, protocol, _name, socket_address in found:
        try:
            with socket.socket(family, kind, protocol) as probe:
                # As servers do: connections in TIME_WAIT must not make the port look busy.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(socket_address)
                probe.listen()
        except OSError as error:
            failures.append(error)
    return failures
