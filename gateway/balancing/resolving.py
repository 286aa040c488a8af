"""Finds the addresses of the service's hosts, again and again, so that a new replica gets calls."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from common.outage_log import OutageLog
from common.settings import Address
from gateway.targets import hosts_of

# How long the addresses of a host may take; those that it had are used meanwhile.
RESOLVE_SECONDS_MAX = 5.0
# Replicas that one gateway process uses; of more, processes use different ones.
REPLICAS_MAX = 64
IPV4, IPV6 = "ipv4", "ipv6"
FAMILIES = {socket.AF_INET: IPV4, socket.AF_INET6: IPV6}
# A row of getaddrinfo: family, type, protocol, name, and an address that begins with the host.
Row = tuple[int, int, int, str, tuple[Any, ...]]


class Endpoint(NamedTuple):
    """One replica: the target that gRPC connects to, and the host by which it is called and verified."""

    target: str
    # Empty where gRPC derives it from the target.
    authority: str = ""


class Lookup(Protocol):
    """What finds the addresses of a host, as an event loop does."""

    async def getaddrinfo(self, host: str, port: int, *, type: int) -> Sequence[Row]:  # noqa: A002 -- of the library
        """Return the addresses; OSError when there are none."""


class Resolver:
    """The endpoints of a target, as far as they are known."""

    def __init__(self, target: str, lookup: Lookup, seed: bytes = b"") -> None:
        """Choose other replicas than processes with another `seed`, when there are too many."""
        self._target = target
        self._hosts = hosts_of(target)
        self._lookup = lookup
        self._seed = seed
        # By host, as they were found last: a host that cannot be resolved any more keeps them.
        self._found: dict[Address, tuple[Endpoint, ...]] = {
            host: (literal,) for host in self._hosts if (literal := literal_endpoint(host))
        }
        self._outages = {
            host: OutageLog("resolving the host of the service") for host in self._hosts if host not in self._found
        }
        self._running: dict[Address, asyncio.Task[None]] = {}

    @property
    def has_names(self) -> bool:
        """Whether there are hosts whose addresses may change."""
        return bool(self._outages)

    def endpoints(self) -> tuple[Endpoint, ...]:
        """Return the endpoints that are known, each address once."""
        if not self._hosts:
            return (Endpoint(self._target),)
        by_target: dict[str, Endpoint] = {}
        for host in self._hosts:
            for endpoint in self._found.get(host, ()):
                by_target.setdefault(endpoint.target, endpoint)
        found = tuple(by_target.values())
        if len(found) <= REPLICAS_MAX:
            return found
        return tuple(sorted(found, key=lambda each: zlib.crc32(self._seed + each.target.encode()))[:REPLICAS_MAX])

    async def refresh(self) -> None:
        """Resolve the hosts again, and wait for those that answer in time."""
        for host in self._outages:
            # While a host is being resolved it is not asked once more: each question takes a thread.
            if host not in self._running:
                self._running[host] = asyncio.create_task(self._resolve(host))
        if self._running:
            await asyncio.wait(self._running.values(), timeout=RESOLVE_SECONDS_MAX)

    async def close(self) -> None:
        """End what is being resolved."""
        running = list(self._running.values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _resolve(self, host: Address) -> None:
        try:
            rows = await self._lookup.getaddrinfo(host.host, host.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            self._outages[host].failed(error, host=host.host)
        else:
            self._outages[host].over()
            self._found[host] = endpoints_of(host, rows) or self._found.get(host, ())
        finally:
            del self._running[host]


def endpoints_of(host: Address, rows: Sequence[Row]) -> tuple[Endpoint, ...]:
    """Return the endpoints of a name by the rows of getaddrinfo.

    A name with one IPv4 and one IPv6 address, as `localhost` often is, is one replica: gRPC uses the address that
    answers. Of more, the addresses of one family are used, because each replica may have one of both.
    """
    found: dict[str, dict[Endpoint, None]] = {}
    for family, _type, _protocol, _name, address in rows:
        kind = FAMILIES.get(socket.AddressFamily(family))
        if kind is not None:
            endpoint = Endpoint(f"{kind}:{Address(str(address[0]), host.port)}", str(host))
            found.setdefault(kind, {})[endpoint] = None
    if len(found) == len(FAMILIES) and all(len(endpoints) == 1 for endpoints in found.values()):
        return (Endpoint(f"dns:///{host}"),)
    return max((tuple(endpoints) for endpoints in found.values()), key=len, default=())


def literal_endpoint(host: Address) -> Endpoint | None:
    """Return the endpoint of a host that is an address itself; None for a name."""
    try:
        version = ipaddress.ip_address(host.host).version
    except ValueError:
        return None
    return Endpoint(f"ipv{version}:{host}")
