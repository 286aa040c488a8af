"""A child process: how it is started, when it is ready, how it ends, and that it never outlives its parent."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from common.settings import Address
from common.workers.worker import die_with_parent
from local.processes.errors import ProgramError, StoppedError
from local.processes.ports import Listener, refuse_busy_ports
from local.processes.rotation import rotate

# What children inherit of the environment: where programs, files and time zones are found, and the project's settings.
# Left out are, among others, proxies (every child connects to this machine or to the servers that its settings name),
# PYTHONPATH, CLASSPATH, JAVA_TOOL_OPTIONS and the variables that ClickHouse's clients read.
INHERITED = frozenset(
    {"PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "TZ", "JAVA_HOME", "LD_LIBRARY_PATH", "PYTHONDONTWRITEBYTECODE"}
)
# UGC_ are the settings; SSL_ names the certificates of authorities.
INHERITED_PREFIXES = ("UGC_", "SSL_")
# In the locale C, Java cannot open a file whose path has a letter beyond ASCII.
LOCALE = {"LC_ALL": "C.UTF-8"}
POLL_SECONDS = 0.05
LOG_TAIL_BYTES = 16_384
LOG_TAIL_LINES = 15


def always_ready() -> bool:
    """Return that there is nothing to wait for."""
    return True


def nothing_to_prepare() -> None:
    """Do nothing: the program needs no files."""


@dataclass(frozen=True)
class Program:
    """What to run, and how to see that it works.

    `listens` maps each setting that chooses a port to the address; `prepare` writes the files that the program needs,
    before each start. `ready` is polled until it is true, and `alive` from then on: a supervised program that does not
    answer for a minute or two is started again.
    """

    name: str
    argv: tuple[str, ...]
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    directory: Path | None = None
    listens: Mapping[str, Address] = field(default_factory=dict)
    prepare: Callable[[], None] = nothing_to_prepare
    ready: Callable[[], bool] = always_ready
    alive: Callable[[], bool] | None = None
    ready_seconds_max: float = 60.0
    stop_seconds_max: float = 20.0

    @property
    def listeners(self) -> list[Listener]:
        """The addresses that the program listens on."""
        return [Listener(self.name, setting, address) for setting, address in self.listens.items()]


@contextlib.contextmanager
def running(program: Program) -> Iterator[Child]:
    """Start a program, wait until it is ready, and stop it when the block ends."""
    refuse_busy_ports(program.listeners)
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
        program.prepare()
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
                # A session of its own: Ctrl-C in the terminal reaches only the parent, which stops all in order.
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
                raise ProgramError(f"{self.program.name} {self.cause_of_death()}; {last_lines(self.program.log)}")
            if time.monotonic() > deadline:
                limit = self.program.ready_seconds_max
                raise ProgramError(
                    f"{self.program.name} was not ready after {limit:g} s; {last_lines(self.program.log)}"
                )
            time.sleep(POLL_SECONDS)

    def cause_of_death(self) -> str:
        """Return how the process ended, as in `was killed by SIGKILL`."""
        status = self.process.returncode
        return f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"

    def await_success(self, stop: threading.Event) -> None:
        """Return once a program that ends by itself has succeeded; ProgramError and StoppedError as `await_ready`."""
        deadline = time.monotonic() + self.program.ready_seconds_max
        while self.process.poll() is None:
            if stop.is_set():
                raise StoppedError
            if time.monotonic() > deadline:
                raise ProgramError(f"{self.program.name} had not ended after {self.program.ready_seconds_max:g} s")
            time.sleep(POLL_SECONDS)
        if self.process.returncode:
            raise ProgramError(f"{self.program.name} {self.cause_of_death()}; {last_lines(self.program.log)}")

    def stop(self) -> None:
        """Send SIGTERM, wait, and kill what is left of the process group."""
        if self.process.poll() is None:
            self.process.terminate()
            # A process that SIGSTOP has stopped does not handle SIGTERM.
            self.process.send_signal(signal.SIGCONT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(self.program.stop_seconds_max)
        self.kill()

    def kill(self) -> None:
        """Send SIGKILL to the whole process group, and reap the process."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def child_environment(parent: Mapping[str, str], added: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a child: what it inherits of its parent's, the locale, and `added`."""
    chosen = {name: value for name, value in parent.items() if name in INHERITED or name.startswith(INHERITED_PREFIXES)}
    return {**chosen, **LOCALE, **added}


def last_lines(log: Path) -> str:
    """Return the end of a log for a message to the user, with the path of the log."""
    if not log.exists():
        return f"there is no log at {log}"
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - LOG_TAIL_BYTES))
        lines = stream.read().decode(errors="replace").splitlines()
    return "\n".join([f"the end of its log, {log}:", *(f"    {line}" for line in lines[-LOG_TAIL_LINES:])])
