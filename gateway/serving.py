"""The gateway on its socket: listens, and at the end becomes unready, drains and stops."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

from aiohttp.web import BaseSite, ServerRunner, SockSite, TCPSite

from common.logs import logger
from common.settings import Address
from common.watched_files import reloading
from gateway.app import Gateway
from gateway.http.connection import ConnectionLimits
from gateway.http.connections import Connections, descriptors_for
from gateway.http.handshake import Tls
from gateway.http.server import HttpServer
from gateway.lane import Lane
from gateway.metrics import OTHER_METHOD
from gateway.tls import server_tls

# aiohttp takes 0 for no limit.
STOP_SECONDS_MIN = 0.001
# Connections that the system keeps until they are accepted.
BACKLOG = 1_024
ANY_ADDRESS = "::"


@contextlib.asynccontextmanager
async def serving(gateway: Gateway) -> AsyncIterator[Address]:
    """Serve at the address yielded; at the end become unready, wait for balancers, let requests in flight finish."""
    settings = gateway.settings
    connections_max = descriptors_for(settings.gateway_connections_max)
    if connections_max < settings.gateway_connections_max:
        logger().warning("fewer connections than set, by the limit of descriptors", connections=connections_max)
    connections = Connections(connections_max, settings.gateway_head_seconds_max)
    gateway.metrics.connections.reads(lambda: len(connections))
    gateway.metrics.connections_limit.reads(lambda: connections_max)
    tls = server_tls(settings.gateway_tls, gateway.metrics)
    server = HttpServer(
        gateway.handle,
        connections,
        ConnectionLimits(settings.gateway_keepalive_seconds, settings.gateway_answer_seconds_max),
        Lane(gateway) if settings.gateway_lane else None,
        lambda status: gateway.metrics.request(OTHER_METHOD).end(status),
        Tls(lambda: tls.value.made, settings.gateway_head_seconds_max) if tls else None,
    )
    runner = ServerRunner(server, shutdown_timeout=max(settings.gateway_stop_seconds_max, STOP_SECONDS_MIN))
    await runner.setup()
    try:
        host = settings.gateway_listen.host
        await site_at(runner, settings.gateway_listen, is_shared=settings.gateway_workers > 1).start()
        async with connections.swept(), reloading(tls):
            gateway.health.is_listening = True
            yield Address(host, runner.addresses[0][1])
            gateway.health.is_draining = True
            await asyncio.sleep(settings.gateway_drain_seconds)
    finally:
        await runner.cleanup()
        gateway.close()


def site_at(runner: ServerRunner, address: Address, *, is_shared: bool) -> BaseSite:
    """Return the listener of an address; that of `::` also accepts IPv4, which the event loop would leave out.

    An address that is shared with other workers is held by their parent.
    """
    if address.host != ANY_ADDRESS:
        return TCPSite(runner, address.host, address.port, backlog=BACKLOG, reuse_port=is_shared)
    listening = socket.create_server(
        (address.host, address.port), family=socket.AF_INET6, dualstack_ipv6=True, reuse_port=is_shared
    )
    return SockSite(runner, listening, backlog=BACKLOG)
