"""A proxy between the etl and ClickHouse's native port that cuts, holds or delays inserts.

It parses only as much of the native protocol as it needs to find the beginning and the end of an insert's data. The
connections must not be compressed.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from common.settings import Address

CHUNK_BYTES = 65_536
POLL_SECONDS = 0.1
CONNECT_SECONDS_MAX = 5.0
# The type of a client's packet with a block, and the packet whose block has no columns, which ends the data.
DATA = b"\x02"
END_OF_DATA = b"\x02\x00" + b"\x01\x00\x02\xff\xff\xff\xff\x00" + b"\x00\x00"

Moment = Literal["inside data", "before end", "after end", "after answer"]


@dataclass(frozen=True)
class Break:
    """A fault of the `insert`-th insert from now on (1 is the next), at a moment of it.

    The connection is cut; with `hold_seconds` it is held instead, or until `release`, while other connections continue.
    `share` is the part of the first chunk of data that passes before a fault inside it.
    """

    moment: Moment
    insert: int = 1
    share: float = 0.5
    hold_seconds: float = 0.0


class Proxy:
    """Listens on a free port, and forwards connections to `target`."""

    def __init__(self, target: Address) -> None:
        self.target = target
        self.delay_seconds = 0.0
        self.closed = threading.Event()
        self.broken = threading.Event()
        self._released = threading.Event()
        self._thawed = threading.Event()
        self._thawed.set()
        self._lock = threading.Lock()
        self._break: Break | None = None
        self._inserts = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(POLL_SECONDS)
        self._threads = [threading.Thread(target=self._accept, name="proxy")]

    @property
    def address(self) -> Address:
        """The proxy's own address."""
        return Address(*self._listener.getsockname())

    def release(self) -> None:
        """Let a held connection continue."""
        self._released.set()

    def await_release(self, seconds_max: float) -> None:
        """Wait for `release`, for a number of seconds at most."""
        self._released.wait(seconds_max)

    def break_insert(self, what: Break) -> None:
        """Break one insert; `broken` is set when it has happened."""
        with self._lock:
            self._break, self._inserts = what, 0
        self.broken.clear()

    def freeze(self) -> None:
        """Forward nothing, in either direction, until `thaw`."""
        self._thawed.clear()

    def thaw(self) -> None:
        """Forward what was held, and continue."""
        self._thawed.set()

    def pause(self) -> None:
        """Wait while frozen or delayed; called by the relays."""
        while not self._thawed.wait(POLL_SECONDS) and not self.closed.is_set():
            pass
        if self.delay_seconds:
            self.closed.wait(self.delay_seconds)

    def begun(self) -> Break | None:
        """Count an insert whose data begins; return its fault, if any."""
        with self._lock:
            self._inserts += 1
            return self._break if self._break and self._break.insert == self._inserts else None

    @contextlib.contextmanager
    def serving(self) -> Iterator[Proxy]:
        """Serve until the context ends; then close every connection."""
        self._threads[0].start()
        try:
            yield self
        finally:
            self.closed.set()
            self._released.set()
            self.thaw()
            for thread in self._threads:
                thread.join()
            self._listener.close()

    def _accept(self) -> None:
        while not self.closed.is_set():
            with contextlib.suppress(TimeoutError):
                client, _ = self._listener.accept()
                relay = threading.Thread(target=self._relay, args=(client,), name="relay")
                self._threads.append(relay)
                relay.start()

    def _relay(self, client: socket.socket) -> None:
        # If one side closes its connection, the other side's connection is closed too.
        with client, contextlib.suppress(OSError):
            client.settimeout(None)
            with socket.create_connection(self.target, CONNECT_SECONDS_MAX) as server:
                server.settimeout(None)
                Relay(self, client, server).run()


class CutError(OSError):
    """The connection is cut here."""


class Relay:
    """One connection: forwards bytes in both directions, and finds where the data of an insert begins and ends."""

    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self._answered = True
        self._inserting = False
        self._tail = b""
        self._break: Break | None = None
        self._answer_is_cut = False

    def run(self) -> None:
        """Forward bytes until either side ends or the connection is cut."""
        for side in (client_and_server := (self._client, self._server)):
            side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while not self._proxy.closed.is_set():
            ready, _, _ = select.select(client_and_server, (), (), POLL_SECONDS)
            for side in ready:
                if not (data := side.recv(CHUNK_BYTES)):
                    return
                self._proxy.pause()
                if side is self._client:
                    self._from_client(data)
                else:
                    self._from_server(data)

    def _from_server(self, data: bytes) -> None:
        self._answered = True
        if self._answer_is_cut:
            raise CutError
        self._client.sendall(data)

    def _from_client(self, data: bytes) -> None:
        # Data follows an answer of the server; a block without one, right after a query, ends the external tables.
        begins = not self._inserting and self._answered and data.startswith(DATA) and data != END_OF_DATA
        self._answered = False
        if begins:
            self._inserting, self._break = True, self._proxy.begun()
            data = self._begin(data)
        self._tail = (self._tail + data)[-len(END_OF_DATA) :]
        if self._inserting and self._tail == END_OF_DATA:
            self._inserting = False
            self._end(data)
        else:
            self._server.sendall(data)

    def _begin(self, data: bytes) -> bytes:
        """Forward the first chunk of an insert's data up to the fault; return the rest."""
        if not self._break or self._break.moment != "inside data":
            return data
        cut = max(1, int(len(data) * self._break.share))
        self._server.sendall(data[:cut])
        self._happen(self._break)
        return data[cut:]

    def _end(self, data: bytes) -> None:
        """Forward the chunk that ends an insert's data."""
        what = self._break
        if what and what.moment == "before end":
            cut = max(0, len(data) - len(END_OF_DATA))
            self._server.sendall(data[:cut])
            self._happen(what)
            data = data[cut:]
        # Set before the answer, which the next iteration of the loop reads.
        self._answer_is_cut = bool(what and what.moment == "after answer")
        self._server.sendall(data)
        if what and what.moment == "after end":
            self._happen(what)
        if self._answer_is_cut:
            self._proxy.broken.set()

    def _happen(self, what: Break) -> None:
        self._proxy.broken.set()
        if not what.hold_seconds:
            raise CutError
        self._proxy.await_release(what.hold_seconds)
