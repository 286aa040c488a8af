"""Which replica of the service gets the next call: they take turns, as long as they are connected and serve.

A turn has some calls, because calls that travel together cost less. A replica whose calls wait for longer than those of
the others is left out, so that one that hangs collects few of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence

from gateway.balancing.replica import Replica
from gateway.balancing.resolving import Endpoint, Resolver
from gateway.settings import GatewaySettings

# Calls of one turn.
TURN_CALLS = 16
# A replica is left out while it has more than twice the calls in flight of the one with the fewest, and two turns more.
IN_FLIGHT_RATIO, IN_FLIGHT_CALLS = 2, 2 * TURN_CALLS
# The pause between two questions for the addresses of a name of which no replica is connected.
RESOLVE_SECONDS_MIN = 1.0


class Replicas:
    """The replicas; `run` keeps them equal to the endpoints of a resolver."""

    def __init__(
        self, resolver: Resolver, open_replica: Callable[[Endpoint], Replica], settings: GatewaySettings, turn: int = 0
    ) -> None:
        """Begin with another replica than processes with another `turn`."""
        self._resolver = resolver
        self._open_replica = open_replica
        self._settings = settings
        self._all: dict[Endpoint, Replica] = {}
        # Those that take the place of another one as soon as they are connected.
        self._renewed: dict[Endpoint, Replica] = {}
        self._running: dict[Replica, asyncio.Task[None]] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        # Those that take turns: the best that there are. Serving ones, else connected ones, else all.
        self._ring: Sequence[Replica] = ()
        self._at = turn
        self._left = 0
        # Set when a replica is connected.
        self.connected = asyncio.Event()
        self._connected: frozenset[Replica] = frozenset()

    def __len__(self) -> int:
        """Return how many replicas there are."""
        return len(self._all)

    def usable(self) -> Sequence[Replica]:
        """Return the replicas that calls go to: those that serve, without any the connected ones, else all."""
        return self._ring

    def available(self) -> int:
        """Return how many replicas are connected, and serve."""
        return sum(each.is_connected and each.is_serving for each in self._all.values())

    def all(self) -> Collection[Replica]:
        """Return all replicas."""
        return self._all.values()

    def next(self) -> Replica | None:
        """Return the replica for a call; None when no address of the service is known."""
        ring = self._ring
        if len(ring) > 1:
            if self._left:
                self._left -= 1
                return ring[self._at]
            return self._next_turn(ring)
        return ring[0] if ring else None

    def another(self, tried: Collection[Replica]) -> Replica | None:
        """Return a connected replica, best a serving one, for a call that those tried did not get; None without any."""
        found = [each for each in self._all.values() if each.is_connected and each not in tried]
        found = [each for each in found if each.is_serving] or found
        return min(found, key=lambda each: each.calls_in_flight(), default=None)

    async def run(self) -> None:
        """Keep the replicas connected, and resolve their names again and again, until cancelled."""
        self._update()
        try:
            while True:
                await self._resolver.refresh()
                self._update()
                seconds = self._settings.gateway_resolve_seconds
                if not self._connected:
                    seconds = min(seconds, RESOLVE_SECONDS_MIN)
                await asyncio.sleep(seconds)
        finally:
            await self._resolver.close()
            tasks = [*self._running.values(), *self._leaving]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def renew(self) -> None:
        """Open every replica again, with other credentials; until it is connected, the former one gets the calls."""
        for endpoint in self._all:
            if endpoint in self._renewed:
                self._begin_leaving(self._renewed[endpoint])
            self._renewed[endpoint] = self._start(endpoint)

    def _next_turn(self, ring: Sequence[Replica]) -> Replica:
        """Begin the turn of the next replica that does not have far more calls in flight than another one."""
        in_flight = [each.calls_in_flight() for each in ring]
        most = IN_FLIGHT_RATIO * min(in_flight) + IN_FLIGHT_CALLS
        at = (self._at + 1) % len(ring)
        while in_flight[at] > most:
            at = (at + 1) % len(ring)
        self._at, self._left = at, TURN_CALLS - 1
        return ring[at]

    def _update(self) -> None:
        """Open the replicas that are new, and close those that are gone once their calls are answered."""
        endpoints = self._resolver.endpoints()
        for endpoint in endpoints:
            if endpoint not in self._all:
                self._all[endpoint] = self._start(endpoint)
        for endpoint in self._all.keys() - set(endpoints):
            self._begin_leaving(self._all.pop(endpoint))
            if endpoint in self._renewed:
                self._begin_leaving(self._renewed.pop(endpoint))
        self._arrange()

    def _start(self, endpoint: Endpoint) -> Replica:
        replica = self._open_replica(endpoint)
        running = replica.run(self._arrange, self._settings.gateway_relay, lambda: len(self._all) > 1)
        self._running[replica] = asyncio.create_task(running)
        return replica

    def _begin_leaving(self, replica: Replica) -> None:
        leaving = asyncio.create_task(self._leave(replica))
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)

    async def _leave(self, replica: Replica) -> None:
        running = self._running.pop(replica)
        try:
            await replica.leave(self._settings.gateway_timeout_seconds_max)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await replica.channel.close()

    def _arrange(self) -> None:
        """Choose the replicas that take turns, after any of them has changed."""
        for endpoint, replica in list(self._renewed.items()):
            if replica.is_connected:
                self._begin_leaving(self._all[endpoint])
                self._all[endpoint] = self._renewed.pop(endpoint)
        everyone = tuple(self._all.values())
        connected = frozenset(each for each in everyone if each.is_connected)
        if connected - self._connected:
            self.connected.set()
        self._connected = connected
        serving = tuple(each for each in everyone if each in connected and each.is_serving)
        ring = serving or tuple(each for each in everyone if each in connected) or everyone
        if ring != self._ring:
            self._ring, self._left = ring, 0
            self._at %= max(1, len(ring))
