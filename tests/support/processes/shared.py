"""A server that the pytest processes of one run share: the first that needs it starts it, for all."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TextIO


@contextlib.contextmanager
def shared(folder: Path, start: Callable[[], AbstractContextManager[str]]) -> Iterator[str]:
    """Yield the address of a server, which ends with the process that started it, after all others have left the block.

    `folder` is the same in all processes, and new in each run.
    """
    folder.mkdir(exist_ok=True)
    address = folder / "address"
    with contextlib.ExitStack() as server, (folder / "users").open("w") as users:
        with alone(folder):
            is_first = not address.exists()
            if is_first:
                address.write_text(server.enter_context(start()))
            fcntl.flock(users, fcntl.LOCK_SH)
            found = address.read_text()
        try:
            yield found
        finally:
            if is_first:
                leave_last(folder, address, users)


def leave_last(folder: Path, address: Path, users: TextIO) -> None:
    """Let no further process use a server, and wait for those that do; the lock of a killed one is released."""
    with alone(folder):
        address.unlink()
    fcntl.flock(users, fcntl.LOCK_EX)


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Wait until no other process is in such a block with the same folder."""
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
