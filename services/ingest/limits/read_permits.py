"""Who may have its message read next: so many at once, and the connections take turns.

Every second time it is the connection that came last, as one that sends is not to wait for all those that are silent.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TypeAlias

# Connections that are remembered as having come last; the others have their turn in rotation.
NEWCOMERS_MAX = 256
Wish: TypeAlias = asyncio.Future[None]


class CrowdedError(Exception):
    """The message of a call was still on its way while too many others were."""


class Leases:
    """A limit of reads at once, with a queue for each connection."""

    def __init__(self, leases_max: int) -> None:
        self._free = leases_max
        # The connections in rotation, and the wishes of each in the order of their coming.
        self._peers: dict[str, dict[Wish, None]] = {}
        self._newcomers: deque[str] = deque(maxlen=NEWCOMERS_MAX)
        self._newest = False
        self.waiting = 0

    def take(self) -> bool:
        """Whether a lease is free and nobody waits for it; it is the caller's then."""
        if self._free and not self.waiting:
            self._free -= 1
            return True
        return False

    async def wait(self, peer: str) -> None:
        """Return when a lease is the caller's; a caller that is cancelled has none."""
        wish: Wish = asyncio.get_running_loop().create_future()
        wishes = self._peers.get(peer)
        if wishes is None:
            wishes = self._peers[peer] = {}
            self._newcomers.append(peer)
        wishes[wish] = None
        self.waiting += 1
        try:
            await wish
        except asyncio.CancelledError:
            if wish.cancelled():
                self._forget(peer, wish)
            elif wish.exception() is None:
                self.give_back()
            raise

    def give_back(self) -> None:
        """Pass a lease on."""
        self._free += 1
        self.grant()

    def grant(self) -> None:
        """Give what is free to those that wait."""
        while self._free and self.waiting:
            peer = self._next()
            wishes = self._peers.pop(peer)
            wish = next(iter(wishes))
            del wishes[wish]
            if wishes:
                self._peers[peer] = wishes
            self.waiting -= 1
            # One that is cancelled at this moment has been taken out, and takes note of it when it runs.
            if not wish.done():
                self._free -= 1
                wish.set_result(None)

    def make_room(self, peer: str) -> bool:
        """Wake one that waits with CrowdedError, of the connection that has the most; False when `peer` is that."""
        largest = max(self._peers, key=lambda name: len(self._peers[name]))
        wishes = self._peers[largest]
        if len(wishes) <= len(self._peers.get(peer, ())) + 1:
            return False
        wish, _ = wishes.popitem()
        self.waiting -= 1
        if not wish.done():
            wish.set_exception(CrowdedError)
        return True

    def _next(self) -> str:
        self._newest = not self._newest
        while self._newest and self._newcomers:
            peer = self._newcomers.pop()
            if peer in self._peers:
                return peer
        return next(iter(self._peers))

    def _forget(self, peer: str, wish: Wish) -> None:
        wishes = self._peers.get(peer)
        if wishes is None or wish not in wishes:
            return
        del wishes[wish]
        self.waiting -= 1
        if not wishes:
            del self._peers[peer]
