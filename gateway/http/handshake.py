"""TLS below a connection of the HTTP server; its handshake is within the limits of open connections and of time.

An event loop that is given a context for its listener does the handshakes by itself, where no limit counts them, and
keeps encrypted bytes where no limit sees them. Here the transport of those is at hand.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from asyncio.sslproto import SSLProtocol
from collections.abc import Callable
from typing import NamedTuple, cast

from common.logs import log_limited
from gateway.http.connection import ConnectionHandler
from gateway.http.connections import Connections

# A limit of the library for the rest of a response and the client's own close; WriteWatchdog has the narrower one.
CLOSE_SECONDS_MAX = 3_600


class Tls(NamedTuple):
    """The context of the next handshake, and within how many seconds it must end."""

    context: Callable[[], ssl.SSLContext]
    handshake_seconds_max: float


class Handshake(asyncio.Protocol):
    """A connection until the end of its handshake, which connects its handler."""

    is_in_flight = False

    def __init__(
        self, handler: ConnectionHandler, tls: Tls, loop: asyncio.AbstractEventLoop, open_connections: Connections
    ) -> None:
        """Begin with a connection that is not yet open."""
        self._handler = handler
        self._tls = tls
        self._loop = loop
        self._open_connections = open_connections
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the handshake, as the protocol that gets what arrives from now on."""
        self._transport = cast("asyncio.Transport", transport)
        self._open_connections.add(self)
        self._handler.lower_transport, self._handler.handshake = self._transport, self
        ended = self._loop.create_future()
        ended.add_done_callback(self._ended)
        protocol = SSLProtocol(
            cast("asyncio.BaseEventLoop", self._loop),  # the library's type is narrower than what it needs
            self._handler,
            self._tls.context(),
            ended,
            server_side=True,
            ssl_handshake_timeout=self._tls.handshake_seconds_max,  # type: ignore[arg-type]  # as the event loops pass it
            ssl_shutdown_timeout=CLOSE_SECONDS_MAX,
        )
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)

    def has_request(self) -> bool:
        """Whether a request's head has arrived: not before the end of the handshake."""
        return False

    def is_waiting(self) -> bool:
        """Whether the connection waits for the next request: no, for the first one."""
        return False

    def drop(self) -> None:
        """Close it at once."""
        if self._transport is not None:
            self._transport.abort()

    def _ended(self, ended: asyncio.Future[None]) -> None:
        """Log why a handshake failed."""
        self._open_connections.discard(self)
        error = None if ended.cancelled() else ended.exception()
        if error is not None:
            log_limited(logging.INFO, "a TLS handshake failed", reason=reason_of(error))


def reason_of(error: BaseException) -> str:
    """Return why a handshake failed, without what only the library's source explains."""
    if isinstance(error, ssl.SSLError):
        return (error.reason or "unknown").lower().replace("_", " ")
    return str(error) or "the client closed the connection"
