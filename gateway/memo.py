"""What the lane computes once for all requests with the same head."""

from __future__ import annotations

from gateway.app import Api
from gateway.http.metadata import OF_THE_PEER
from gateway.metrics import DurationsByStatus
from gateway.routing.routes import Match

# Peers whose metadata is kept with one head, and the key of metadata that depends on no peer.
PEERS_MAX = 64
ANY_PEER = ("", False)


class Memo:
    """What is the same for all requests with one head, while the same descriptors and the same relay are served."""

    __slots__ = ("_is_of_peer", "_metadata", "_names", "api", "cors", "durations", "match")

    def __init__(self, api: Api, match: Match, cors: bytes, durations: DurationsByStatus) -> None:
        self.api = api
        self.match = match
        # The lines of the response's CORS headers.
        self.cors = cors
        self.durations = durations
        self._names: frozenset[str] | None = None
        # The metadata of a relayed call, by the peer if it has any that depends on the peer.
        self._is_of_peer = False
        self._metadata: dict[tuple[str, bool], bytes] = {}

    def kept(self, names: frozenset[str], peer: tuple[str, bool]) -> bytes | None:
        """Return the metadata of these names that was kept for a peer, None if none was."""
        if self._names is not names and self._names != names:
            self._names, self._metadata, self._is_of_peer = names, {}, not names.isdisjoint(OF_THE_PEER)
        return self._metadata.get(peer if self._is_of_peer else ANY_PEER)

    def keep(self, peer: tuple[str, bool], metadata: bytes) -> None:
        """Keep the metadata of a peer for the names that `kept` was asked for last."""
        if len(self._metadata) >= PEERS_MAX:
            self._metadata.clear()
        self._metadata[peer if self._is_of_peer else ANY_PEER] = metadata
