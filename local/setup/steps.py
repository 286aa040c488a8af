"""Installation steps, run side by side: each runs only when its inputs have changed since it last succeeded."""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from common.running_system import locked

ROOT = Path(__file__).resolve().parents[2]
LOCAL = ROOT / ".local"
PROGRESS_SECONDS = 10
STEP_SECONDS_MAX = 1_800
LOG_TAIL_LINES = 15
LOCK_POLL_SECONDS = 0.2
# In the locale C, Java cannot open a file whose path has a letter beyond ASCII. The rest of the environment is the
# user's: the tools that download must find the proxy and the registries that the user has set.
LOCALE = {"LC_ALL": "C.UTF-8"}


class SetupError(Exception):
    """The machine lacks a prerequisite, or a step failed; the text is the message for the user."""


class Step(NamedTuple):
    """One thing to install: its name, the files it depends on, the files it makes, and a function that gets its log."""

    name: str
    inputs: tuple[Path, ...]
    outputs: tuple[Path, ...]
    install: Callable[[Path], None]


@contextmanager
def alone() -> Iterator[None]:
    """Wait until no other set-up of this clone runs, and let none run in the block."""
    LOCAL.mkdir(parents=True, exist_ok=True)
    with (LOCAL / "setup.lock").open("w") as file:
        deadline = time.monotonic() + STEP_SECONDS_MAX
        is_announced = False
        while not locked(file, fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                raise SetupError(f"another set-up has held {file.name} for {STEP_SECONDS_MAX} s")
            if not is_announced:
                print_line("waiting for another set-up of this clone")
                is_announced = True
            time.sleep(LOCK_POLL_SECONDS)
        yield


def is_due(step: Step) -> bool:
    """Whether a step has not succeeded with its present inputs, or one of its outputs is missing."""
    return not all(path.exists() for path in step.outputs) or not stamp(step).exists()


def run_steps(steps: Sequence[Step]) -> None:
    """Run steps side by side and print their progress; SetupError when one fails."""
    if not steps:
        return
    started: dict[str, float] = {}
    with printing_progress(started), ThreadPoolExecutor(len(steps)) as pool:
        for result in [pool.submit(run_step, step, started) for step in steps]:
            result.result(STEP_SECONDS_MAX)


def run_step(step: Step, started: dict[str, float]) -> None:
    """Run one step and write its stamp."""
    log = LOCAL / "logs" / f"setup-{file_name(step)}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_bytes(b"")
    print_line(f"{step.name}: installing")
    since = started[step.name] = time.monotonic()
    try:
        step.install(log)
    finally:
        del started[step.name]
    if missing := [str(path) for path in step.outputs if not path.exists()]:
        # A tool may succeed without them: npm passes over an optional package that it could not fetch.
        raise SetupError(f"{step.name}: not installed: {', '.join(missing)}; the end of {log}:\n{tail(log)}")
    seconds = time.monotonic() - since
    marker = stamp(step)
    marker.parent.mkdir(parents=True, exist_ok=True)
    for old in marker.parent.glob(f"{file_name(step)}-*"):
        old.unlink()
    marker.touch()
    print_line(f"{step.name}: done in {seconds:.0f} s")


def stamp(step: Step) -> Path:
    """Return the file whose presence means that the step succeeded with its present inputs."""
    # The folder is an input too: installed scripts contain its path.
    digest = hashlib.sha256(f"{sys.version} {ROOT}".encode())
    for path in step.inputs:
        digest.update(path.read_bytes())
    return LOCAL / "stamps" / f"{file_name(step)}-{digest.hexdigest()[:16]}"


def file_name(step: Step) -> str:
    """Return the name of a step as its files have it."""
    return step.name.replace(" ", "-")


@contextmanager
def printing_progress(started: Mapping[str, float]) -> Iterator[None]:
    """Print every few seconds which of the started steps are still running."""
    ended = threading.Event()

    def print_until_ended() -> None:
        while not ended.wait(PROGRESS_SECONDS):
            now = time.monotonic()
            running = ", ".join(f"{name} ({now - since:.0f} s)" for name, since in list(started.items()))
            print_line(f"still installing {running}")

    thread = threading.Thread(target=print_until_ended)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def run(command: Sequence[str], log: Path, variables: Mapping[str, str] | None = None, directory: Path = ROOT) -> None:
    """Run a command with its output in the log; SetupError with the end of the log when it fails."""
    with log.open("ab") as output:
        status = subprocess.run(
            command,
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            check=False,
            cwd=directory,
            env={**os.environ, **(variables or {}), **LOCALE},
        ).returncode
    if status:
        raise SetupError(f"`{' '.join(command[:4])} ...` ended with status {status}; the end of {log}:\n{tail(log)}")


def tail(log: Path) -> str:
    """Return the last lines of a log."""
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_TAIL_LINES:])


def print_line(text: str) -> None:
    """Print a line of progress."""
    sys.stdout.write(f"set-up: {text}\n")
    sys.stdout.flush()
