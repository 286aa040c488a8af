"""Hosts ClickHouse's library as a server: `python -m local.clickhouse.host LIBRARY OPTION...`; SIGTERM ends it cleanly.

The library's exported `query_stable_v2` is the main function of clickhouse-local. It runs interactively on a private
terminal, because otherwise any error in a connection ends the process; end-of-file (Ctrl-D) on the terminal stops it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pty
import signal
import sys
import threading
from collections.abc import Callable, Sequence

END_OF_FILE = b"\x04"
# The end-of-file is repeated, in case the terminal was not yet read when it was first written to.
END_SECONDS = 0.5
READ_BYTES = 65_536
STACK_BYTES = 64 * 1024 * 1024
LISTEN = "SYSTEM START LISTEN TCP; SYSTEM START LISTEN HTTP"


def main() -> None:
    """Serve until SIGTERM or SIGINT; status 1 when ClickHouse ended by itself."""
    library, *options = sys.argv[1:]
    host(library, options)


def host(library: str, options: Sequence[str], started: Callable[[threading.Event], None] = lambda _stop: None) -> None:
    """As `main`; `started` is called once ClickHouse is starting, with a flag that is set when it is to end."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stop.set())
    terminal = private_terminal()
    threading.stack_size(STACK_BYTES)
    server = threading.Thread(target=serve, args=(library, options, stop), name="clickhouse", daemon=True)
    server.start()
    started(stop)
    stop.wait()
    stopped_by_signal = server.is_alive()
    while server.is_alive():
        os.write(terminal, END_OF_FILE)
        server.join(END_SECONDS)
    # The library has threads that must not run while the interpreter shuts down.
    sys.stdout.flush()
    os._exit(0 if stopped_by_signal else 1)


def private_terminal() -> int:
    """Make a new terminal this process's standard input; return its other end, whose output is discarded."""
    controller, terminal = pty.openpty()
    os.dup2(terminal, 0)
    os.close(terminal)
    threading.Thread(target=drain, args=(controller,), name="terminal", daemon=True).start()
    return controller


def drain(terminal: int) -> None:
    """Discard what the terminal prints, so that its buffer never fills."""
    # The read fails when the other end is closed, which happens when this process ends.
    with contextlib.suppress(OSError):
        while os.read(terminal, READ_BYTES):
            pass


def serve(library: str, options: Sequence[str], ended: threading.Event) -> None:
    """Run ClickHouse until end-of-file on its terminal."""
    arguments = ["clickhouse", *options, "--interactive", f"--query={LISTEN}"]
    argv = (ctypes.c_char_p * len(arguments))(*(argument.encode() for argument in arguments))
    try:
        run = ctypes.CDLL(library).query_stable_v2
        run.restype = ctypes.c_void_p
        run(len(arguments), argv)
    finally:
        ended.set()


if __name__ == "__main__":
    main()
