"""Connections to the project's own processes never go through a proxy, whatever http_proxy in the environment says."""

from __future__ import annotations

import urllib.error
import urllib.request

# For every gRPC channel; the library otherwise reads http_proxy.
DIRECT_CHANNEL = (("grpc.enable_http_proxy", 0),)
# For every HTTP request; `urlopen` otherwise reads http_proxy.
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def answers_http(url: str, seconds_max: float) -> bool:
    """Whether a request for a page succeeds in time; for probes."""
    try:
        with DIRECT.open(url, timeout=seconds_max):
            return True
    except (urllib.error.URLError, OSError):
        return False
