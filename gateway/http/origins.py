"""Origins as browsers send them: an allow-list is compared by characters, so another spelling would never match."""

from __future__ import annotations

import ipaddress
import re
import socket
from urllib.parse import SplitResult, urlsplit

DEFAULT_PORTS = {"http": 80, "https": 443}
PORT_MAX = 65_535
EXAMPLE = "an origin is like https://cinema.example or http://localhost:3000"
# The only hosts that browsers send, once names are in punycode.
HOST = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*", re.ASCII)
# Letters that browsers encode differently from Python, which implements IDNA 2003.
DEVIATIONS = frozenset("\u00df\u1e9e\u03c2\u200c\u200d")
# A browser takes a host whose last label is a number for an address.
NUMERIC = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)", re.ASCII)


def check_origins(origins: tuple[str, ...]) -> tuple[str, ...]:
    """Return the origins unchanged; ValueError names the right spelling of one that no browser sends."""
    for origin in origins:
        spelled = as_sent(origin)
        if spelled != origin:
            raise ValueError(f"no browser sends {origin!r} as an origin: it sends {spelled!r}")
    return origins


def as_sent(text: str) -> str:
    """Return how a browser spells an origin; ValueError when it is not valid."""
    if text in ("*", "null"):
        raise ValueError(f"{text!r} would let every page read answers: list the origins of your pages; {EXAMPLE}")
    try:
        parts = urlsplit(text)
        port = port_of(parts)
    except ValueError as error:
        raise ValueError(f"{text!r} is not a valid origin: {error}; {EXAMPLE}") from error
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname or re.search(r"[\s\\]", text):
        raise ValueError(f"{text!r} is not a valid origin: {EXAMPLE}")
    return f"{parts.scheme}://{host_as_sent(text, parts.hostname)}{port}"


def port_of(parts: SplitResult) -> str:
    """Return the port with its colon, empty when it is the default one of the scheme."""
    if parts.port == 0:
        raise ValueError(f"a port is from 1 to {PORT_MAX}")
    return "" if parts.port in (None, DEFAULT_PORTS.get(parts.scheme)) else f":{parts.port}"


def host_as_sent(text: str, host: str) -> str:
    """Return a host as a browser spells it: in punycode, addresses in their shortest form, without a final dot."""
    if ":" in host:
        try:
            address = ipaddress.IPv6Address(host)
        except ValueError as error:
            raise ValueError(f"{text!r} is not a valid origin: {error}") from error
        if address.scope_id is not None:
            raise ValueError(f"{text!r} is not a valid origin: no browser sends a zone")
        return f"[{address.compressed}]"
    host = host.rstrip(".")
    if not host.isascii():
        host = in_punycode(text, host)
    try:
        if NUMERIC.fullmatch(host):
            return socket.inet_ntoa(socket.inet_aton(host))
    except OSError as error:
        raise ValueError(f"{text!r} is not a valid origin: its host is not valid") from error
    if not HOST.fullmatch(host):
        raise ValueError(f"{text!r} is not a valid origin: {EXAMPLE}")
    return host


def in_punycode(text: str, host: str) -> str:
    """Return a host in punycode; ValueError where browsers and Python encode it differently."""
    try:
        if DEVIATIONS.isdisjoint(host):
            return host.encode("idna").decode()
    except UnicodeError:
        pass
    raise ValueError(f"{text!r} is not a valid origin: write its host in punycode (xn--...), as browsers send it")
