"""The port of several workers: they share it, and no other server does."""

from __future__ import annotations

import contextlib
import errno
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from common.settings import Address
from common.workers.port import held_port, take
from local.processes.ports import free_port

HOST = "127.0.0.1"
RACES = 50


def listener(port: int, *, is_worker: bool) -> socket.socket:
    """Listen as a server does."""
    created = socket.socket()
    try:
        created.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        created.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(is_worker))
        created.bind((HOST, port))
        created.listen()
    except OSError:
        created.close()
        raise
    return created


def refused(port: int) -> bool:
    """Return whether neither a single server nor the parent of other workers gets a port."""
    with pytest.raises(OSError, match="in use") as single:
        listener(port, is_worker=False)
    with pytest.raises(OSError, match="in use") as parent, held_port(Address(HOST, port)):
        pass
    return single.value.errno == parent.value.errno == errno.EADDRINUSE


def test_shared_among_workers() -> None:
    """Workers listen on the held port, all of them get connections, and no other server gets the port."""
    with held_port(Address(HOST, free_port())) as address:
        assert refused(address.port)
        with listener(address.port, is_worker=True) as one, listener(address.port, is_worker=True) as other:
            assert refused(address.port)
            clients = [socket.create_connection(address) for _ in range(64)]
            for worker in (one, other):
                worker.settimeout(60)
                worker.accept()[0].close()
            for client in clients:
                client.close()
        # Between the workers that have ended and those that replace them.
        assert refused(address.port)
        listener(address.port, is_worker=True).close()
    listener(address.port, is_worker=False).close()


def test_port_0() -> None:
    """The system chooses the port, and the workers listen on it."""
    with held_port(Address(HOST, 0)) as address, listener(address.port, is_worker=True):
        assert address.host == HOST
        assert refused(address.port)


@pytest.mark.parametrize("is_worker", [False, True])
def test_taken(is_worker: bool) -> None:
    """A port that another server has is not held, whether or not that server shares it."""
    with listener(0, is_worker=is_worker) as other:
        address = Address(HOST, other.getsockname()[1])
        with pytest.raises(OSError, match="in use"), held_port(address):
            pass


def test_after_connections() -> None:
    """Connections in TIME_WAIT do not keep a restarted server from its port."""
    with listener(0, is_worker=False) as server:
        address = Address(HOST, server.getsockname()[1])
        with socket.create_connection(address) as client:
            server.accept()[0].close()  # closed by the server first, so that its side waits
            assert client.recv(1) == b""
    with held_port(address) as held, listener(held.port, is_worker=True):
        pass


def test_one_of_two_at_once() -> None:
    """Of two parents that start at the same moment, exactly one gets the port."""
    barrier = threading.Barrier(2)

    def start(port: int) -> bool:
        barrier.wait()
        try:
            with held_port(Address(HOST, port)):
                barrier.wait()
        except OSError:
            barrier.wait()
            return False
        return True

    with ThreadPoolExecutor(2) as threads:
        for _ in range(RACES):
            port = free_port()
            assert sorted(threads.map(start, [port, port])) == [False, True]


def test_both_have_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """The port goes to one of two parents even when both have bound it before either goes on."""
    address = (HOST, free_port())
    barrier = threading.Barrier(2)
    waits = [barrier.wait, barrier.wait]

    class Bound(socket.socket):
        def bind(self, address: object) -> None:
            super().bind(address)  # type: ignore[arg-type]  # an address of its family
            if waits:
                waits.pop()()

    monkeypatch.setattr(socket, "socket", Bound)

    def start(_number: int) -> bool:
        try:
            held.enter_context(take(socket.AF_INET, address))
        except OSError:
            return False
        return True

    with contextlib.ExitStack() as held, ThreadPoolExecutor(2) as threads:
        assert sorted(threads.map(start, range(2))) == [False, True]


@pytest.mark.parametrize(
    ("host", "reason"), [("192.0.2.1", "Cannot assign"), ("nowhere.invalid", "Name or service|name resolution")]
)
def test_no_such_address(host: str, reason: str) -> None:
    """An address that this machine does not have, or a name without one, is an OSError."""
    with pytest.raises(OSError, match=reason), held_port(Address(host, 0)):
        pass
