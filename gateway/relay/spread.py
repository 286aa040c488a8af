"""Streams to all processes that share the service's address; the system gives each connection to one of them.

The first stream is on the gateway's own channel. When the server declares that several processes share its address,
further streams are opened, each on a connection of its own. One that reaches a process which has a stream already is
closed, and another connection is tried.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import grpc

from gateway.relay.calls import RelayedCall
from gateway.relay.client import Relay
from gateway.relay.frames import Declaration
from gateway.relay.stream import RelayStream

# Streams of one gateway process; a service of more processes is not used as a whole by one gateway process alone.
STREAMS_MAX = 16
# Pauses before another connection is tried: doubled each time.
PAUSE_SECONDS_MIN, PAUSE_SECONDS_MAX = 0.05, 5.0
CHECK_SECONDS = 1.0
# Calls in flight of a stream from which on others are used too: the fewer calls share a frame, the more each costs.
CALLS_MIN = 48


class Relays:
    """The streams to the processes of the service; `alone` makes a call that a stream has not taken as a unary one."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        open_channel: Callable[[], grpc.aio.Channel],
        alone: Callable[[RelayedCall], asyncio.Task[None]],
        pause_seconds: float,
        turn: int = 0,
    ) -> None:
        """`open_channel` opens a channel with a connection of its own; `pause_seconds` is that of Relay.

        Gateway processes that differ in `turn` prefer different processes of the service.
        """
        self._turn = turn
        self._open_channel = open_channel
        self._alone = alone
        self._pause_seconds = pause_seconds
        self._first = Relay(channel, alone, pause_seconds)
        # Those that may have a stream, the first one at their beginning.
        self._relays = [self._first]

    @property
    def stream(self) -> RelayStream | None:
        """The preferred open stream, so that many calls share a frame, or that with the fewest calls if it has many."""
        if len(self._relays) == 1:
            return self._first.stream
        streams = self.streams()
        if not streams:
            return None
        streams.sort(key=server_of)
        preferred = streams[self._turn % len(streams)]
        return preferred if preferred.calls_in_flight() < CALLS_MIN else min(streams, key=RelayStream.calls_in_flight)

    def streams(self) -> list[RelayStream]:
        """Return the open streams."""
        return [stream for each in self._relays if (stream := each.stream) is not None]

    def calls_in_flight(self) -> int:
        """Return how many calls of all streams have no verdict yet."""
        return sum(stream.calls_in_flight() for stream in self.streams())

    def calls_max(self) -> int:
        """Return how many calls all streams take at once."""
        return sum(stream.declaration.calls_max for stream in self.streams())

    def servers(self) -> set[str]:
        """Return the names of the processes that calls can go to."""
        return {stream.declaration.server for stream in self.streams()}

    async def run(self) -> None:
        """Keep the streams open, until cancelled."""
        first = asyncio.create_task(self._first.run())
        further: dict[int, asyncio.Task[None]] = {}
        try:
            while not first.done():
                await asyncio.wait({first, *further.values()}, timeout=CHECK_SECONDS)
                for number in range(2, self._wanted() + 1):
                    if number not in further or further[number].done():
                        further[number] = asyncio.create_task(self._keep(number))
        finally:
            for each in (first, *further.values()):
                each.cancel()
            await asyncio.gather(first, *further.values(), return_exceptions=True)

    def _wanted(self) -> int:
        """Return how many streams the processes of the service need."""
        stream = self._first.stream
        return min(stream.declaration.servers, STREAMS_MAX) if stream is not None else 1

    async def _keep(self, number: int) -> None:
        """Keep a further stream, to a process that has none yet, as long as the service has so many processes."""
        pause = PAUSE_SECONDS_MIN
        while number <= self._wanted() or self._first.stream is None:
            async with self._open_channel() as channel:
                had_stream = await self._run_while_free(self._further(channel), number)
            pause = PAUSE_SECONDS_MIN if had_stream else min(pause * 2, PAUSE_SECONDS_MAX)
            await asyncio.sleep(pause)

    def _further(self, channel: grpc.aio.Channel) -> Relay:
        """Return the stream of a channel, which ends at a process that another stream has."""
        relay = Relay(channel, self._alone, self._pause_seconds, lambda declared: self._is_free(declared, relay))
        return relay

    async def _run_while_free(self, relay: Relay, number: int) -> bool:
        """Run a stream until its process has another one; return whether it has carried calls."""
        had_stream = False
        self._relays.append(relay)
        running = asyncio.create_task(relay.run())
        try:
            while not running.done():
                await asyncio.wait({running}, timeout=CHECK_SECONDS)
                stream = relay.stream
                if stream is None:
                    if relay not in self._relays:
                        break
                    continue
                had_stream = True
                if not self._is_free(stream.declaration, relay) or (self._first.stream and number > self._wanted()):
                    # Its calls end by their deadlines, and it gets no further ones.
                    self._remove(relay)
                    if not stream.calls_in_flight():
                        break
        finally:
            self._remove(relay)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        return had_stream

    def _is_free(self, declared: Declaration, relay: Relay) -> bool:
        """Whether no other stream has the process of a declaration."""
        streams = (each.stream for each in self._relays if each is not relay)
        return all(stream is None or stream.declaration.server != declared.server for stream in streams)

    def _remove(self, relay: Relay) -> None:
        if relay in self._relays:
            self._relays.remove(relay)


def server_of(stream: RelayStream) -> str:
    """Return the name of the process that serves a stream."""
    return stream.declaration.server
