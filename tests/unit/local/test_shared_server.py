"""The server that the workers of `make test` share ends after the last of them, whichever started it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

from tests.support.processes.shared import shared
from tests.support.processes.system import await_equal

SECONDS_MAX = 60.0


class Server:
    """Counts starts and ends."""

    def __init__(self) -> None:
        self.starts = 0
        self.has_ended = threading.Event()

    @contextlib.contextmanager
    def running(self) -> Iterator[str]:
        self.starts += 1
        yield f"address {self.starts}"
        self.has_ended.set()


class User:
    """A worker of `make test`, as a thread: it uses the server until it is released."""

    def __init__(self, folder: Path, server: Server) -> None:
        self._release = threading.Event()
        self.address = ""
        self._uses = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(folder, server))
        self._thread.start()
        assert self._uses.wait(SECONDS_MAX)

    def _run(self, folder: Path, server: Server) -> None:
        with shared(folder, server.running) as self.address:
            self._uses.set()
            self._release.wait(SECONDS_MAX)

    def release(self) -> None:
        self._release.set()

    def join(self) -> None:
        self._thread.join(SECONDS_MAX)
        assert not self._thread.is_alive()


def test_the_starter_waits(tmp_path: Path) -> None:
    """The worker that started the server waits for the others; one that comes then starts another server."""
    server, folder = Server(), tmp_path / "server"
    starter, other = User(folder, server), User(folder, server)
    assert (starter.address, other.address, server.starts) == ("address 1", "address 1", 1)

    starter.release()
    await_equal((folder / "address").exists, wanted=False)
    late = User(folder, server)
    assert late.address == "address 2"
    assert not server.has_ended.is_set()

    other.release()
    late.release()
    for user in (starter, other, late):
        user.join()
    assert server.has_ended.is_set()


def test_an_ordinary_user_does_not_end_it(tmp_path: Path) -> None:
    """A worker that did not start the server leaves without waiting, and the server goes on."""
    server, folder = Server(), tmp_path / "server"
    starter, other = User(folder, server), User(folder, server)
    other.release()
    other.join()
    assert not server.has_ended.is_set()

    starter.release()
    starter.join()
    assert server.has_ended.is_set()
