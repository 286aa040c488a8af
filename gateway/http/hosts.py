"""The form of a host with an optional port, as in a Host header (RFC 9112 section 3.2, RFC 3986 section 3.2.2)."""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache

NAME = r"(?:[A-Za-z0-9._~!$&'()*+;=-]|%[0-9A-Fa-f]{2}){0,255}"
HOST = re.compile(rf"(?:{NAME}|\[([0-9A-Fa-f:.]{{2,45}})\])(?::([0-9]{{0,5}}))?", re.ASCII)
PORT_MAX = 65_535
# A name of 255 characters, each of which may be percent-encoded, and a port.
HOST_CHARACTERS_MAX = 3 * 255 + 6
HOSTS_KEPT = 256


def is_host(text: str) -> bool:
    """Whether a text is a host with an optional port; an empty one is, as of a target without an authority."""
    return len(text) <= HOST_CHARACTERS_MAX and is_known_host(text)


@lru_cache(HOSTS_KEPT)
def is_known_host(text: str) -> bool:
    """Whether a short text is a host; clients send few different ones."""
    match = HOST.fullmatch(text)
    if match is None or int(match[2] or 0) > PORT_MAX:
        return False
    return match[1] is None or is_ipv6(match[1])


def is_ipv6(text: str) -> bool:
    """Whether a text is an address of IPv6."""
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True
