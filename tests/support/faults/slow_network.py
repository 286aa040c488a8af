"""A proxy in front of a server that delays what passes and limits its rate, both changed while it runs."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from common.settings import Address
from local.kafka.server import kafka_program
from local.processes.ports import free_port
from local.processes.program import running

CHUNK_BYTES = 16_384
# What a connection may have read ahead of its turn; the rest waits in the client.
AHEAD_BYTES_MAX = 4_194_304
AHEAD_SECONDS_MAX = 0.1
RECEIVE_BUFFER_BYTES = 65_536


class SlowNetwork:
    """Forwards connections to `target`; what clients send is delayed, and limited in its rate over all connections."""

    def __init__(self, target: Address) -> None:
        self.delay_seconds = 0.0
        # Bytes per second; None for no limit.
        self.rate: float | None = None
        self.forwarded_bytes = 0
        self._target = target
        self._free_at = 0.0
        self._tasks: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def listening(self, port: int) -> AsyncIterator[None]:
        """Forward until the block ends; then close every connection."""
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Otherwise megabytes would wait in buffers of the system.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        listener.bind(("127.0.0.1", port))
        server = await asyncio.start_server(self._accept, sock=listener)
        try:
            yield
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            upstream, server = await asyncio.open_connection(*self._target)
        except OSError:
            writer.close()
            return
        ways = [
            asyncio.create_task(self._forward(reader, server, is_slow=True)),
            asyncio.create_task(self._forward(upstream, writer, is_slow=False)),
        ]
        try:
            # When one side closes its connection, the other side's is closed too.
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for end in (writer, server):
                end.close()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_slow: bool) -> None:
        """Forward one direction of a connection."""
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(AHEAD_BYTES_MAX // CHUNK_BYTES)

        async def write() -> None:
            while True:
                due, data = await queue.get()
                if (ahead := due - loop.time()) > 0:
                    await asyncio.sleep(ahead)
                writer.write(data)
                await writer.drain()

        writing = asyncio.create_task(write())
        try:
            while data := await reader.read(CHUNK_BYTES):
                now = loop.time()
                due = now
                if is_slow:
                    self.forwarded_bytes += len(data)
                    if self.rate is not None:
                        self._free_at = max(self._free_at, now) + len(data) / self.rate
                        due = self._free_at
                    due += self.delay_seconds
                await queue.put((due, data))
                if is_slow and self._free_at - now > AHEAD_SECONDS_MAX:
                    await asyncio.sleep(self._free_at - now - AHEAD_SECONDS_MAX)
        except ConnectionError:
            pass
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)


@contextlib.contextmanager
def slow_kafka(folder: Path) -> Iterator[tuple[str, SlowNetwork]]:
    """Run a broker behind a proxy, which its clients cannot pass by; yield the address of the proxy, and the proxy."""
    port, proxy_port = free_port(), free_port()
    network = SlowNetwork(Address("127.0.0.1", port))
    loop, stop, ready = asyncio.new_event_loop(), asyncio.Event(), threading.Event()

    async def serve() -> None:
        async with network.listening(proxy_port):
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    with running(kafka_program(folder / "kafka", port, free_port(), advertised_port=proxy_port)):
        thread.start()
        ready.wait()
        try:
            yield f"127.0.0.1:{proxy_port}", network
        finally:
            loop.call_soon_threadsafe(stop.set)
            thread.join()
            loop.close()
