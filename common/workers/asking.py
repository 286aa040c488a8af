"""Asks the management listeners of several workers at the same time, with one limit of time for all of them."""

from __future__ import annotations

import contextlib
import selectors
import socket
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import cast

from common.page_server import Answer

# How long all workers together may take; one that hangs does not answer.
SECONDS_MAX = 2.0
# The largest answer of a worker. The metrics of one have some tens of kilobytes.
ANSWER_BYTES_MAX = 16_777_216
READ_BYTES = 262_144
BACKLOG = 16
HEAD_END = b"\r\n\r\n"


def open_listener() -> socket.socket:
    """Return a socket that listens at an address which the system chooses; only Linux has such addresses."""
    listener = socket.socket(socket.AF_UNIX)
    try:
        # Linux then chooses an address that is in no folder, so that nothing is left of a process that was killed.
        listener.bind("")
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def ask(workers: Mapping[int, str | bytes], path: str, accept: str = "") -> dict[int, Answer]:
    """Return the workers' answers to a GET, by their numbers; those that do not answer in time are left out."""
    deadline = time.monotonic() + SECONDS_MAX
    received: dict[int, bytearray] = {}
    found: dict[int, Answer] = {}
    with contextlib.ExitStack() as opened, selectors.DefaultSelector() as selector:
        for number, address in workers.items():
            connection = opened.enter_context(socket.socket(socket.AF_UNIX))
            connection.settimeout(0)
            # A worker that hangs accepts no connection once as many wait as may.
            with contextlib.suppress(OSError):
                connection.connect(address)
                connection.send(f"GET {path} HTTP/1.0\r\nAccept: {accept}\r\n\r\n".encode())
                selector.register(connection, selectors.EVENT_READ, number)
                received[number] = bytearray()
        while selector.get_map() and (seconds := deadline - time.monotonic()) > 0:
            for key, _events in selector.select(seconds):
                if has_ended(cast("socket.socket", key.fileobj), received[key.data]):
                    selector.unregister(key.fileobj)
                    if answer := parse(bytes(received[key.data])):
                        found[key.data] = answer
    return found


def has_ended(connection: socket.socket, received: bytearray) -> bool:
    """Add what has arrived; return whether it was the last."""
    try:
        part = connection.recv(READ_BYTES)
    except OSError:
        received.clear()
        return True
    received += part
    return not part or len(received) > ANSWER_BYTES_MAX


def parse(received: bytes) -> Answer | None:
    """Return an answer of the management listener, None if it is not whole."""
    head, _, body = received.partition(HEAD_END)
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): text.strip() for name, _, text in (line.partition(":") for line in lines)}
    if headers.get("content-length") != str(len(body)):
        return None
    return Answer(body, headers["content-type"], HTTPStatus(int(first.split(" ")[1])))
