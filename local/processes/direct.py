"""Connections that never use a proxy, whatever http_proxy is, for the processes of this machine."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request

# For every gRPC channel; the library otherwise reads http_proxy.
DIRECT_CHANNEL = (("grpc.enable_http_proxy", 0),)
# For every HTTP request; `urlopen` otherwise reads http_proxy.
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def answers_http(url: str, seconds_max: float) -> bool:
    """Whether a GET request is answered with 200 in time; for probes."""
    return status_http(url, seconds_max) == http.client.OK


def status_http(url: str, seconds_max: float) -> int | None:
    """Return the status of the answer to a GET request; None when there is no answer in time."""
    try:
        with DIRECT.open(url, timeout=seconds_max) as answer:
            status: int = answer.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except (OSError, http.client.HTTPException):
        return None
    return status
