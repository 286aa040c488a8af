"""Skips tests where this machine has no IPv6 loopback, as in many containers."""

from __future__ import annotations

import socket

import pytest


def has_ipv6() -> bool:
    """Return whether a socket can be bound to the IPv6 loopback."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
