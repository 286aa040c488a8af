"""Names callers for the limits: the subject of a token, otherwise the network of the client. Pure.

A client can have many addresses, so its network counts: 256 addresses of IPv4, or the 64 bits of an IPv6 network that a
provider assigns to one line.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from functools import lru_cache
from urllib.parse import unquote

from common.networks import Network

PREFIX_BITS = {4: 24, 6: 64}
NAMES_CACHED = 4_096
# Of one call: a client can send any number of addresses.
ADDRESSES_MAX = 8
ADDRESS_CHARACTERS_MAX = 45
FORWARDED_CHARACTERS_MAX = 1_024
# A peer without an address, as one of a Unix socket.
LOCAL = "local"


class CallerNames:
    """Names callers by their connections, and by what trusted peers, such as the gateway, report about the client."""

    def __init__(self, trusted_networks: Collection[Network]) -> None:
        """Peers in these networks may name the client in `x-forwarded-for`."""
        self._trusted_networks = trusted_networks
        self._cached = lru_cache(NAMES_CACHED)(self._name)

    def name(self, peer: str, forwarded_for: str) -> str:
        """Return the name of the caller: `peer` is that of gRPC, `forwarded_for` the metadata or an empty text."""
        # Shortened before the cache, which keeps the texts: a client can send 64 KB in each call.
        return self._cached(peer, forwarded_for[-FORWARDED_CHARACTERS_MAX:])

    def _name(self, peer: str, forwarded_for: str) -> str:
        address = parse(host_of(peer))
        if address is None or not self._is_trusted(address):
            return LOCAL if address is None and not forwarded_for else network_of(address)
        for text in reversed(forwarded_for.split(",")[-ADDRESSES_MAX:]):
            named = parse(text.strip())
            if named is None:
                break
            address = named
            if not self._is_trusted(address):
                break
        return network_of(address)

    def _is_trusted(self, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
        return any(address in network for network in self._trusted_networks)


def host_of(peer: str) -> str:
    """Return the address in gRPC's name of a peer, as `ipv4:127.0.0.1:5000` or `ipv6:%5B::1%5D:5000`."""
    return unquote(peer.partition(":")[2].rpartition(":")[0]).strip("[]")


def parse(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return an address, None if it is not valid; that of IPv4 in IPv6 form as IPv4."""
    try:
        address = ipaddress.ip_address(text[:ADDRESS_CHARACTERS_MAX])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def network_of(address: ipaddress.IPv4Address | ipaddress.IPv6Address | None) -> str:
    """Return the network that counts as one caller."""
    if address is None:
        return LOCAL
    return str(ipaddress.ip_network((address, PREFIX_BITS[address.version]), strict=False))
