"""Cross-origin requests: which origins' scripts may call the gateway, and the headers that allow it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from google.rpc import code_pb2

from gateway.errors import GatewayError

ALLOWED_HEADERS = (
    "Authorization, Content-Encoding, Content-Type, Grpc-Timeout, Traceparent, Tracestate, X-Request-Id, X-Strict, "
    "X-Ugc-Priority"
)
EXPOSED_HEADERS = "Retry-After, X-Request-Id, X-Unknown-Fields"
REQUESTED_METHOD = "Access-Control-Request-Method"
VARY = "Origin"


class OriginRefusedError(GatewayError):
    """403: a preflight from an origin that is not on the list."""

    code = code_pb2.PERMISSION_DENIED


class Cors:
    """An allow-list of origins such as `https://cinema.example`; when it is empty, no other origin is allowed."""

    def __init__(self, origins: Collection[str], seconds_max: int) -> None:
        """Browsers may cache a preflight for `seconds_max`."""
        self._origins = frozenset(origins)
        self._seconds_max = seconds_max

    def is_preflight(self, method: str, headers: Mapping[str, str]) -> bool:
        """Whether a request is a preflight; without a list there are none."""
        return bool(self._origins) and method == "OPTIONS" and "Origin" in headers and REQUESTED_METHOD in headers

    def preflight(self, headers: Mapping[str, str], methods: Sequence[str]) -> dict[str, str]:
        """Return the response headers of a preflight; OriginRefusedError when the origin is not on the list."""
        allowed = self.headers(headers)
        if "Access-Control-Allow-Origin" not in allowed:
            raise OriginRefusedError("this origin may not call from a browser")
        return {
            **allowed,
            "Vary": f"{VARY}, {REQUESTED_METHOD}, Access-Control-Request-Headers",
            "Access-Control-Allow-Methods": ", ".join(methods),
            "Access-Control-Allow-Headers": ALLOWED_HEADERS,
            "Access-Control-Max-Age": str(self._seconds_max),
        }

    def headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        """Return the CORS headers of any response."""
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
