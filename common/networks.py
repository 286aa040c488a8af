"""Networks in settings, as `10.0.0.0/8` separated by commas."""

from __future__ import annotations

import ipaddress
from typing import Annotated, TypeAlias

from pydantic import BeforeValidator
from pydantic_settings import NoDecode

from common.settings import Documented

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
# The prefix of an IPv4 address in IPv6 form; such an address is compared as IPv4.
MAPPED_BITS = 96


def split(text: object) -> object:
    """Read a list with commas between its items."""
    return tuple(item for part in text.split(",") if (item := part.strip())) if isinstance(text, str) else text


def networks(text: object) -> object:
    """Read networks with commas between them; ValueError with the right spelling when one could never match."""
    given = split(text)
    return tuple(map(network, given)) if isinstance(text, str) and isinstance(given, tuple) else given


def network(text: str) -> Network:
    """Read one network or address."""
    try:
        found = ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise ValueError(f"{text!r} is not a valid network: it is like 10.0.0.0/8 or fd00::/8") from error
    first = found.network_address
    mapped = first.ipv4_mapped if isinstance(first, ipaddress.IPv6Address) else None
    if mapped is not None and found.prefixlen >= MAPPED_BITS:
        raise ValueError(f"{text!r} never matches: write {mapped}/{found.prefixlen - MAPPED_BITS}")
    if "/" in text and ipaddress.ip_address(text.partition("/")[0]) != first:
        raise ValueError(
            f"{text!r} is an address in a network: the network is {found}, the address {text.partition('/')[0]}"
        )
    return found


# NoDecode: pydantic-settings would read tuples as JSON.
Networks = Annotated[tuple[Network, ...], NoDecode, BeforeValidator(networks), Documented("networks")]
LOOPBACK: tuple[Network, ...] = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
