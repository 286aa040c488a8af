"""The form of a host with an optional port, as in a Host header (RFC 9112 section 3.2, RFC 3986 section 3.2.2)."""

from __future__ import annotations

import ipaddress
import re

NAME = r"(?:[A-Za-z0-9._~!$&'()*+;=-]|%[0-9A-Fa-f]{2}){0,255}"
HOST = re.compile(rf"(?:{NAME}|\[([0-9A-Fa-f:.]{{2,45}})\])(?::([0-9]{{0,5}}))?", re.ASCII)
PORT_MAX = 65_535


def is_host(text: str) -> bool:
    """Whether a text is a host with an optional port; an empty one is, as of a target without an authority."""
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
