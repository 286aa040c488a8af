"""The head of an HTTP request, read once from the connection into a plain value."""

from __future__ import annotations

import ipaddress
import os
import random
import re
from collections.abc import Collection
from functools import lru_cache

from aiohttp import HttpVersion11
from aiohttp.web import BaseRequest

from common.networks import Network
from gateway.admission import NO_CLIENT
from gateway.errors import ExpectationError
from gateway.request import Peer, Request

CONTINUE = "100-continue"
FORWARDED_FOR = "X-Forwarded-For"
REQUEST_ID = "X-Request-Id"
REQUEST_ID_VALUE = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}", re.ASCII)
# The longest text form of an address.
ADDRESS_CHARACTERS_MAX = 45
ADDRESSES_CACHED = 1_024
# An id has to be unique, not secret, and the generator of the system costs more than all the rest of a head.
RANDOM = random.Random(os.urandom(32))  # noqa: S311 -- see above
UUID_BITS = 128
# RFC 9562, section 5.4: the bits that are random, and those of version and variant.
UUID_VERSION_4 = 0x4 << 76 | 0x2 << 62
UUID_RANDOM = (1 << UUID_BITS) - 1 & ~(0xF << 76 | 0x3 << 62)


class HeadReader:
    """Reads the heads of requests; proxies in the trusted networks may name the original client."""

    def __init__(self, trusted_networks: Collection[Network]) -> None:
        self._trusted_networks = trusted_networks
        # Returns an address, and whether it is trusted.
        self.peer_of = lru_cache(ADDRESSES_CACHED)(self._parse_new_address)

    def read(self, connection: BaseRequest) -> Request:
        """Return the head of a request."""
        path, query = target_of(connection)
        headers = connection.headers
        peer = Peer(*self.peer_of(connection.remote or ""), connection.host)
        return Request(
            id=request_id(headers.get(REQUEST_ID)),
            method=connection.method,
            path=path,
            query=query,
            headers=headers,
            peer=peer,
            client=client_of(peer, headers.getall(FORWARDED_FOR, ())),
            is_http_1_0=connection.version < HttpVersion11,
        )

    def _parse_new_address(self, text: str) -> tuple[str, bool]:
        """Return an address and whether it is trusted; a Unix socket has no address, and is trusted."""
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            return "", True
        # A socket for both families shows an IPv4 address as an IPv6 one.
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
            text = str(address)
        return text, any(address in network for network in self._trusted_networks)


def target_of(connection: BaseRequest) -> tuple[str, str]:
    """Return path and query as the client wrote them, also from a request target in absolute form."""
    target = connection.raw_path
    if not target.startswith("/"):
        target = connection.rel_url.raw_path_qs
    path, _, query = target.partition("?")
    return path, query


def client_of(peer: Peer, forwarded_for: Collection[str]) -> str:
    """Return whom the limits for one client count: the address, or behind a trusted proxy the last one it names."""
    if not peer.is_trusted:
        return peer.address
    *_, last = (NO_CLIENT, *forwarded_for)
    return last.rpartition(",")[2].strip()[:ADDRESS_CHARACTERS_MAX]


def request_id(text: str | None = None) -> str:
    """Return the id that a request came with, or a new one when it has none that a log line can contain."""
    return text if text is not None and REQUEST_ID_VALUE.fullmatch(text) else new_request_id()


def new_request_id() -> str:
    """Return a random UUID without its dashes."""
    return f"{RANDOM.getrandbits(UUID_BITS) & UUID_RANDOM | UUID_VERSION_4:032x}"


def check_expectation(request: Request) -> None:
    """Raise ExpectationError for an Expect header other than 100-continue, which HTTP/1.0 does not have."""
    if request.headers.get("Expect", "").lower() not in ("", CONTINUE) and not request.is_http_1_0:
        raise ExpectationError("the only supported value of Expect is 100-continue")
