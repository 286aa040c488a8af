"""The fast lane: ordinary requests answered without a task, from their bytes to the bytes of the response.

The result is the same as that of `Gateway.handle`. Only a request that is ordinary in every respect is taken, and its
errors are those of the same steps. Whatever is not taken is parsed and handled in the usual way.
"""

from __future__ import annotations

from gateway.app import Gateway
from gateway.decoding import LARGE_BODY_BYTES, ORDINARY_BODY_BYTES_MAX
from gateway.errors import GatewayError
from gateway.http.expansion import GZIP_MAGIC
from gateway.http.ordinary import OrdinaryHead, OrdinaryHeads
from gateway.memo import Memo
from gateway.turn import LaneConnection, Turn


class Lane:
    """Takes the ordinary requests of a gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self._body_bytes_max = min(gateway.settings.gateway_body_bytes_max, ORDINARY_BODY_BYTES_MAX)
        self._heads = OrdinaryHeads()

    def begin(self, connection: LaneConnection, data: bytes) -> bool:
        """Begin to answer the request that the data is; False when it is not an ordinary one."""
        read = self._heads.read(data)
        if read is None:
            return False
        head, body = read
        memo = self._memo(head)
        if memo is None or len(body) > self._body_bytes_max or body.startswith(GZIP_MAGIC):
            return False
        peer = connection.lane_peer
        if peer is None:
            peer = connection.lane_peer = self.gateway.heads.peer_of(connection.remote_address())
        turn = Turn(self.gateway, connection, head, memo, peer)
        message = turn.large(body) if len(body) > LARGE_BODY_BYTES else None
        if message is None and len(body) > LARGE_BODY_BYTES:
            return False
        connection.hold()
        try:
            turn.call(body, message)
        except Exception as error:  # noqa: BLE001 -- the last resort, as in Gateway.handle
            turn.failed(error)
        return True

    def size(self, data: bytes) -> int:
        """Return the size of the request that the data begins with, if the lane may take it; 0 if not."""
        found = self._heads.announced(data)
        if found is None or self._memo(found[0]) is None:
            return 0
        size = found[1]
        return size if size <= self._body_bytes_max else 0

    def _memo(self, head: OrdinaryHead) -> Memo | None:
        """Return what is the same for all requests with a head; None for a page, and for a path without a route."""
        memo = head.memo
        return memo if isinstance(memo, Memo) and memo.api is self.gateway.api else self._route(head)

    def _route(self, head: OrdinaryHead) -> Memo | None:
        """Compute what `_memo` returns."""
        gateway, api = self.gateway, self.gateway.api
        if head.path in api.pages or gateway.cors.is_preflight(head.method, head.headers):
            return None
        try:
            match = api.routes.match(head.method, head.path)
        except GatewayError:
            return None
        lines = "".join(f"{name}: {value}\r\n" for name, value in gateway.cors.headers(head.headers).items())
        durations = gateway.metrics.durations_of(head.method, match.route.template.text)
        head.memo = memo = Memo(api, match, lines.encode(), durations)
        return memo
