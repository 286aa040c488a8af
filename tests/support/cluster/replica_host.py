"""Hosts ClickHouse as a replica: `python -m tests.support.cluster.replica_host LIBRARY HTTP INTERSERVER OPTION...`.

HTTP and INTERSERVER are ports. READY is written into the working directory once replication and ON CLUSTER work.
"""

from __future__ import annotations

import ctypes
import sys
import threading
import urllib.request
import uuid
from pathlib import Path

from local.clickhouse.host import host
from local.processes.direct import DIRECT, answers_http
from tests.support.cluster.library_patches import Library

HOST = "127.0.0.1"
READY = "ready"
IDENTITY = "server-uuid"
POLL_SECONDS = 0.05
REQUEST_SECONDS_MAX = 10.0
LISTEN = b"SYSTEM START LISTEN HTTP"


def main() -> None:
    """Serve until SIGTERM or SIGINT; status 1 when ClickHouse ended by itself, or is another build."""
    path, http_port, interserver_port, *options = sys.argv[1:]
    ctypes.CDLL(path)
    library = Library(path)
    library.allow_replication(HOST, int(interserver_port))
    library.set_server_uuid(identity(Path(IDENTITY)))
    host(path, options, lambda stop: start_replication(library, f"http://{HOST}:{http_port}", stop))


def identity(file: Path) -> uuid.UUID:
    """Return the identity of this server, which it keeps when it is started again."""
    if not file.exists():
        file.write_text(str(uuid.uuid4()), encoding="utf-8")
    return uuid.UUID(file.read_text(encoding="utf-8"))


def start_replication(library: Library, url: str, stop: threading.Event) -> None:
    """Start what a server starts and clickhouse-local does not, once ClickHouse answers."""
    while not answers_http(f"{url}/ping", REQUEST_SECONDS_MAX):
        if stop.wait(POLL_SECONDS):
            return
    library.redirect_listener(on=True)
    try:
        with DIRECT.open(urllib.request.Request(f"{url}/", data=LISTEN), timeout=REQUEST_SECONDS_MAX):
            pass
    finally:
        library.redirect_listener(on=False)
    library.start_pools()
    library.start_ddl_worker()
    Path(READY).touch()


if __name__ == "__main__":
    main()
