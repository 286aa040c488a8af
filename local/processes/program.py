"""A child process: how it is started, when it is ready, how it ends, and that it never outlives its parent."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from common.settings import Address
from local.processes.environment import child_environment
from local.processes.rotation import rotate

PR_SET_PDEATHSIG = 1
POLL_SECONDS = 0.05
# Loaded now: between fork and exec a process must not load anything.
LIBC = ctypes.CDLL(None)
LOG_TAIL_BYTES = 16_384
LOG_TAIL_LINES = 15


class ProgramError(Exception):
    """A program could not be started, did not become ready, or keeps dying; the text is for the user."""


class PortBusyError(ProgramError):
    """Another process listens where this program should."""


class StoppedError(Exception):
    """The user asked to stop while something was awaited."""


def always_ready() -> bool:
    """Answer that there is nothing to wait for."""
    return True


@dataclass(frozen=True)
class Program:
    """What to run and how to know that it works.

    `listens` maps the setting that chooses a port to its address, `ready` is asked until it is true, `alive` again and
    again after that: a supervised program that does not answer for long is started again.
    """

    name: str
    argv: tuple[str, ...]
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    directory: Path | None = None
    listens: Mapping[str, Address] = field(default_factory=dict)
    ready: Callable[[], bool] = always_ready
    alive: Callable[[], bool] | None = None
    ready_seconds_max: float = 60.0
    stop_seconds_max: float = 20.0


@contextlib.contextmanager
def running(program: Program) -> Iterator[Child]:
    """Start a program, wait until it is ready, and end it on the way out."""
    refuse_busy_ports(program)
    child = Child(program)
    try:
        child.await_ready()
        yield child
    finally:
        child.stop()


class Child:
    """A started program. Create it on the main thread: Linux ends it when the thread that made it ends."""

    def __init__(self, program: Program) -> None:
        self.program = program
        program.log.parent.mkdir(parents=True, exist_ok=True)
        rotate(program.log)
        parent = os.getpid()
        with program.log.open("ab") as log:
            self.process = subprocess.Popen(
                program.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=program.directory,
                env=child_environment(os.environ, program.environment),
                # A session of its own: Ctrl-C in the terminal reaches the parent alone, which then stops all in order.
                start_new_session=True,
                preexec_fn=lambda: die_with_parent(parent),  # noqa: PLW1509 -- only the main thread of a supervisor forks
            )

    def await_ready(self, stop: threading.Event | None = None) -> None:
        """Return once the program is ready; ProgramError with its last log lines when it dies or takes too long.

        StoppedError when `stop` is set meanwhile.
        """
        deadline = time.monotonic() + self.program.ready_seconds_max
        while not self.program.ready():
            if stop is not None and stop.is_set():
                raise StoppedError
            if self.process.poll() is not None:
                raise ProgramError(f"{self.program.name} {self.cause_of_death()}\n{last_lines(self.program.log)}")
            if time.monotonic() > deadline:
                limit = self.program.ready_seconds_max
                raise ProgramError(
                    f"{self.program.name} was not ready after {limit:g} s\n{last_lines(self.program.log)}"
                )
            time.sleep(POLL_SECONDS)

    def cause_of_death(self) -> str:
        """Say how the process ended, as in `was killed by SIGKILL`."""
        status = self.process.returncode
        return f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"

    def await_success(self, stop: threading.Event) -> None:
        """Return once a program that ends by itself has ended well; ProgramError and StoppedError as `await_ready`."""
        deadline = time.monotonic() + self.program.ready_seconds_max
        while self.process.poll() is None:
            if stop.is_set():
                raise StoppedError
            if time.monotonic() > deadline:
                raise ProgramError(f"{self.program.name} had not ended after {self.program.ready_seconds_max:g} s")
            time.sleep(POLL_SECONDS)
        if self.process.returncode:
            raise ProgramError(f"{self.program.name} {self.cause_of_death()}\n{last_lines(self.program.log)}")

    def stop(self) -> None:
        """Ask the program to end, wait, and kill what is left of its process group."""
        if self.process.poll() is None:
            self.process.terminate()
            # A stopped process (SIGSTOP) cannot heed SIGTERM.
            self.process.send_signal(signal.SIGCONT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(self.program.stop_seconds_max)
        self.kill()

    def kill(self) -> None:
        """End the whole process group at once, as kill -9 does, and reap the process."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent dies; on systems without that, do nothing."""
    if not sys.platform.startswith("linux"):
        return
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # The parent may have died before the call above.
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def refuse_busy_ports(program: Program) -> None:
    """Raise PortBusyError when something else listens on a port that the program needs."""
    for setting, address in program.listens.items():
        with socket.socket(socket.AF_INET6 if ":" in address.host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(address)
            except OSError as error:
                raise PortBusyError(
                    f"{program.name} cannot listen on {address}: {error.strerror}; "
                    f"end the process that holds the port, or choose another with {setting}"
                ) from error


def port_answers(address: Address) -> bool:
    """Whether something accepts connections there."""
    try:
        with socket.create_connection(address, timeout=1):
            return True
    except OSError:
        return False


def free_port() -> int:
    """Return a port of 127.0.0.1 that nothing uses now; for tests."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def last_lines(log: Path) -> str:
    """Return the end of a log, for a message to the user."""
    if not log.exists():
        return f"(no log at {log})"
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - LOG_TAIL_BYTES))
        lines = stream.read().decode(errors="replace").splitlines()
    return "\n".join(f"    {line}" for line in lines[-LOG_TAIL_LINES:])
