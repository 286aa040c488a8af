"""Where a request is from, and who is counted for it."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from aiohttp.web import BaseRequest

from gateway.admission import NO_CLIENT
from gateway.http.metadata import Sender
from gateway.settings import Network

FORWARDED_FOR = "X-Forwarded-For"
# The longest text form of an address.
ADDRESS_CHARACTERS_MAX = 45


def sender_of(request: BaseRequest, trusted: Iterable[Network], identity: str) -> Sender:
    """Return where a request is from; the proxies of trusted networks may speak for others."""
    address = request.remote or ""
    try:
        known = ipaddress.ip_address(address)
    except ValueError:  # a Unix socket has no address
        return Sender("", request.host, is_trusted=True, request_id=identity)
    # A socket for both kinds of addresses shows those of IPv4 as ones of IPv6.
    if isinstance(known, ipaddress.IPv6Address) and known.ipv4_mapped is not None:
        known = known.ipv4_mapped
        address = str(known)
    return Sender(address, request.host, any(known in network for network in trusted), identity)


def client_of(sender: Sender, request: BaseRequest) -> str:
    """Return who has a share of its own: the address, or behind a trusted proxy the client that it names, if any."""
    if not sender.is_trusted:
        return sender.address
    lines = request.headers.getall(FORWARDED_FOR, [NO_CLIENT])
    return lines[-1].rpartition(",")[2].strip()[:ADDRESS_CHARACTERS_MAX]
