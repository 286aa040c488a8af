"""Cross-origin requests, pure: which pages' scripts may call us, and what their browsers are told."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from google.rpc import code_pb2

from gateway.errors import GatewayError

ALLOWED_HEADERS = (
    "Authorization, Content-Encoding, Content-Type, Grpc-Timeout, Traceparent, Tracestate, X-Request-Id, X-Strict"
)
EXPOSED_HEADERS = "Retry-After, X-Request-Id, X-Unknown-Fields"
ASKED_METHOD = "Access-Control-Request-Method"
VARY = "Origin"


class OriginRefusedError(GatewayError):
    """403: a preflight from an origin that is not on the list."""

    code = code_pb2.PERMISSION_DENIED


class Cors:
    """An allow-list of origins, as in `https://cinema.example`; empty: no script of another origin may read answers."""

    def __init__(self, origins: Collection[str], seconds_max: int) -> None:
        """Browsers may remember a preflight for `seconds_max`."""
        self._origins = frozenset(origins)
        self._seconds_max = seconds_max

    def is_preflight(self, method: str, headers: Mapping[str, str]) -> bool:
        """Whether a browser asks before it sends; without a list nobody answers."""
        return bool(self._origins) and method == "OPTIONS" and "Origin" in headers and ASKED_METHOD in headers

    def preflight(self, headers: Mapping[str, str], methods: Sequence[str]) -> dict[str, str]:
        """Return the headers of a preflight's answer; OriginRefusedError when the origin is not on the list."""
        answer = self.headers(headers)
        if "Access-Control-Allow-Origin" not in answer:
            raise OriginRefusedError("this origin may not call from a browser")
        return {
            **answer,
            "Vary": f"{VARY}, {ASKED_METHOD}, Access-Control-Request-Headers",
            "Access-Control-Allow-Methods": ", ".join(methods),
            "Access-Control-Allow-Headers": ALLOWED_HEADERS,
            "Access-Control-Max-Age": str(self._seconds_max),
        }

    def headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        """Return what every answer says about origins."""
        if not self._origins:
            return {}
        origin = headers.get("Origin")
        if origin not in self._origins or origin is None:
            return {"Vary": VARY}
        return {
            "Vary": VARY,
            "Access-Control-Allow-Origin": origin,
            "Access-Control-Allow-Credentials": "true",
            "Access-Control-Expose-Headers": EXPOSED_HEADERS,
        }
