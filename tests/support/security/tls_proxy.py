"""Encrypts the connections to ClickHouse: its library, which the tests host as a server, has no listener for TLS."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

from local.processes.ports import free_port
from tests.support.certificates import Pair

HOST = "127.0.0.1"
READ_BYTES = 65_536
POLL_SECONDS = 0.2


@contextlib.contextmanager
def encrypted(port: int, server: Pair, client_authority: Path | None = None) -> Iterator[int]:
    """Serve TLS in front of a port of this machine; yield the port. With an authority, clients need a certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(server.certificate, server.key)
    if client_authority is not None:
        context.load_verify_locations(client_authority)
        context.verify_mode = ssl.CERT_REQUIRED
    ended = threading.Event()
    with socket.create_server((HOST, free_port())) as listener:
        listener.settimeout(POLL_SECONDS)
        thread = threading.Thread(target=accept, args=(listener, context, port, ended), name="tls-proxy")
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            ended.set()
            thread.join()


def accept(listener: socket.socket, context: ssl.SSLContext, port: int, ended: threading.Event) -> None:
    """Serve connections, each in a thread, until the end."""
    while not ended.is_set():
        try:
            plain, _ = listener.accept()
        except TimeoutError:
            continue
        threading.Thread(target=serve, args=(plain, context, port, ended), daemon=True).start()


def serve(plain: socket.socket, context: ssl.SSLContext, port: int, ended: threading.Event) -> None:
    """Do the handshake, and pass on what either side sends until one closes."""
    # A client that is refused closes its side, or never completes the handshake.
    with plain, contextlib.suppress(OSError):
        plain.settimeout(10)
        with context.wrap_socket(plain, server_side=True) as client, socket.create_connection((HOST, port)) as server:
            for each in (client, server):
                each.settimeout(POLL_SECONDS)
            back = threading.Thread(target=pump, args=(server, client, ended), daemon=True)
            back.start()
            pump(client, server, ended)
            with contextlib.suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)
            back.join()


def pump(source: socket.socket, target: socket.socket, ended: threading.Event) -> None:
    """Pass on what one side sends, until it closes."""
    while not ended.is_set():
        try:
            data = source.recv(READ_BYTES)
        except TimeoutError:
            continue
        except OSError:
            return
        if not data:
            return
        try:
            target.settimeout(None)
            target.sendall(data)
            target.settimeout(POLL_SECONDS)
        except OSError:
            return
