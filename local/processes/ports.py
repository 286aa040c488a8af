"""Ports of this machine: which are taken, by which process, and which setting chooses another."""

from __future__ import annotations

import contextlib
import errno
import secrets
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from common.settings import Address
from local.processes.errors import PortBusyError

ALL_ADDRESSES = {"0.0.0.0", "::", ""}  # noqa: S104 -- addresses to compare with
COMMAND_LINE_CHARACTERS_MAX = 80
# Below the range of the ports of outgoing connections, which begins at 32768 by default.
FREE_PORTS = range(10_000, 32_768)


class Listener(NamedTuple):
    """A program, the address that it is going to listen on, and the setting that chooses the address."""

    program: str
    setting: str
    address: Address


def refuse_busy_ports(listeners: Sequence[Listener]) -> None:
    """Raise PortBusyError, a line for each port that another process holds or that two settings have in common."""
    problems = [*shared(listeners), *(problem for each in listeners if (problem := busy(each)))]
    if problems:
        raise PortBusyError("\n".join(problems))


def shared(listeners: Sequence[Listener]) -> Iterator[str]:
    """Yield a line for each pair of settings that choose the same address."""
    for position, one in enumerate(listeners):
        for other in listeners[position + 1 :]:
            hosts = {one.address.host, other.address.host}
            if one.address.port == other.address.port and (len(hosts) == 1 or hosts & ALL_ADDRESSES):
                yield (
                    f"{one.program} and {other.program} cannot listen on the same port {one.address.port}; "
                    f"change {one.setting} or {other.setting}"
                )


def busy(listener: Listener) -> str:
    """Return why a program cannot listen on its address; empty when it can."""
    host, port = listener.address
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        return f"{listener.program} cannot listen on {listener.address}: {error}; change {listener.setting}"
    failures = [failure for family, *_, address in found if (failure := bind_failure(family, address))]
    # A name may have an address of a family that this machine lacks: the program listens on the others.
    unavailable = [failure for failure in failures if failure.errno == errno.EADDRNOTAVAIL]
    if not failures or (len(failures) == len(unavailable) < len(found)):
        return ""
    (failure, *_) = [failure for failure in failures if failure not in unavailable] or failures
    holder = holder_of(port) if failure.errno == errno.EADDRINUSE else ""
    reason = f"the port is held by {holder}" if holder else failure.strerror
    return (
        f"{listener.program} cannot listen on {listener.address}: {reason}; "
        f"end the process that holds the port, or choose another port with {listener.setting}"
    )


def bind_failure(family: int, address: tuple[object, ...]) -> OSError | None:
    """Return the error with which this process cannot bind an address."""
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            return error
    return None


def holder_of(port: int) -> str:
    """Return the process that holds a port, as in `process 42 (python3 -m http.server)`; empty when it is not found.

    Linux shows the sockets of other users' processes, but not which process has them.
    """
    sockets = {f"socket:[{inode}]" for inode in inodes(port)}
    for entry in Path("/proc").glob("[0-9]*/fd/*") if sockets else ():
        with contextlib.suppress(OSError):
            if str(entry.readlink()) in sockets:
                process = entry.parents[1]
                words = (process / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ").strip()
                return f"process {process.name} ({words[:COMMAND_LINE_CHARACTERS_MAX]})"
    return ""


def inodes(port: int) -> Iterator[str]:
    """Yield the numbers of the sockets that are bound to a port."""
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in (Path("/proc/net") / table).read_text().splitlines()[1:]:
                _, local, _, _, _, _, _, _, _, inode, *_ = line.split()
                if int(local.rpartition(":")[2], 16) == port and inode != "0":
                    yield inode


def port_answers(address: Address) -> bool:
    """Whether something accepts connections there."""
    try:
        with socket.create_connection(address, timeout=1):
            return True
    except OSError:
        return False


class FreePorts:
    """Finds ports for servers that are started soon, such as those of tests.

    Until then nothing else may take such a port. So it is below the ports that Linux gives to outgoing connections, and
    processes that search at the same time have ranges of their own.
    """

    def __init__(self) -> None:
        self.use(0, 1)

    def use(self, part: int, parts: int) -> None:
        """Search in one of several equal parts of the range."""
        size = len(FREE_PORTS) // parts
        self._ports = FREE_PORTS[part * size : (part + 1) * size]
        # Another run of the tests may use the same part.
        self._at = secrets.randbelow(size)

    def next(self) -> int:
        """Return a port of 127.0.0.1 that nothing uses now, and that was not returned for a long time."""
        for _ in self._ports:
            self._at = (self._at + 1) % len(self._ports)
            port = self._ports[self._at]
            if bind_failure(socket.AF_INET, ("127.0.0.1", port)) is None:
                return port
        raise OSError(errno.EADDRINUSE, f"the ports {self._ports[0]} to {self._ports[-1]} are in use")


free_ports = FreePorts()
free_port = free_ports.next
