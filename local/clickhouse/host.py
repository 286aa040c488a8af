"""Hosts ClickHouse's library as a server: `python -m local.clickhouse.host LIBRARY OPTION...`; SIGTERM ends it cleanly.

The library's exported `query_stable_v2` is the main of clickhouse-local. It stays interactive on a private terminal,
because without one any error in a connection ends the process; end-of-file (Ctrl-D) on that terminal ends it cleanly.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pty
import signal
import sys
import threading
from collections.abc import Sequence

END_OF_FILE = b"\x04"
# Asked again, in case the terminal was not yet read when it was first written to.
END_SECONDS = 0.5
READ_BYTES = 65_536
STACK_BYTES = 64 * 1024 * 1024
LISTEN = "SYSTEM START LISTEN TCP; SYSTEM START LISTEN HTTP"


def main() -> None:
    """Serve until SIGTERM or SIGINT; status 1 when ClickHouse ended by itself."""
    library, *options = sys.argv[1:]
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stop.set())
    terminal = private_terminal()
    threading.stack_size(STACK_BYTES)
    server = threading.Thread(target=serve, args=(library, options, stop), name="clickhouse", daemon=True)
    server.start()
    stop.wait()
    asked = server.is_alive()
    while server.is_alive():
        os.write(terminal, END_OF_FILE)
        server.join(END_SECONDS)
    # The library leaves threads behind that must not run through the interpreter's end.
    sys.stdout.flush()
    os._exit(0 if asked else 1)


def private_terminal() -> int:
    """Make a terminal of this process's own its standard input; return the other end, whose output is thrown away."""
    ours, theirs = pty.openpty()
    os.dup2(theirs, 0)
    os.close(theirs)
    threading.Thread(target=drain, args=(ours,), name="terminal", daemon=True).start()
    return ours


def drain(terminal: int) -> None:
    """Read what the terminal echoes, so that it never fills."""
    # The read fails when the other end is closed, which is the end of this process.
    with contextlib.suppress(OSError):
        while os.read(terminal, READ_BYTES):
            pass


def serve(library: str, options: Sequence[str], ended: threading.Event) -> None:
    """Run ClickHouse until its terminal ends."""
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
