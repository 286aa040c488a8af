"""The settings of the system that `make up` or `ugc-servers` runs on this machine, for commands in another shell.

They are in a file of the local directory. The file is locked while the system runs, so that a file which a killed
system has left is not used.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
import time
from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import TextIO

DIRECTORY_VARIABLE = "UGC_LOCAL_DIRECTORY"
DEFAULT_DIRECTORY = Path(__file__).resolve().parents[1] / ".local"
FILE = "running.env"
SERVERS = ("UGC_KAFKA_BOOTSTRAP_SERVERS", "UGC_CLICKHOUSE_URL")
# A reader holds the lock for a moment, to see whether it is free.
LOCK_SECONDS_MAX = 1.0
LOCK_POLL_SECONDS = 0.02


class AlreadyRunningError(Exception):
    """Another process runs a system in the same directory."""


def use_running_system(environment: MutableMapping[str, str] = os.environ) -> None:
    """Set each variable of the running system that the environment lacks.

    Nothing is set when no system runs, or when the environment names another Kafka or ClickHouse than the system's.
    """
    settings = running_settings(Path(environment.get(DIRECTORY_VARIABLE) or DEFAULT_DIRECTORY))
    if any(environment.get(name) and environment[name] != settings.get(name) for name in SERVERS):
        return
    for name, value in settings.items():
        if not environment.get(name):
            environment[name] = value


def running_settings(directory: Path) -> dict[str, str]:
    """Return the settings of the system that runs in a directory; empty when none runs."""
    try:
        file = (directory / FILE).open(encoding="utf-8")
    except OSError:
        return {}
    with file:
        try:
            if locked(file, fcntl.LOCK_SH):
                return {}
        except OSError:  # the file system has no locks, so that no system can run here
            return {}
        settings = (line.partition("=") for line in shlex.split(file.read()))
        return {name: value for name, _, value in settings}


@contextlib.contextmanager
def published(directory: Path, settings: Mapping[str, str]) -> Iterator[None]:
    """Publish the settings of a running system until the block ends; AlreadyRunningError when another one runs."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / FILE
    # A ClickHouse URL may have a password.
    path.touch(mode=0o600)
    with path.open("r+", encoding="utf-8") as file:
        os.fchmod(file.fileno(), 0o600)
        deadline = time.monotonic() + LOCK_SECONDS_MAX
        while not locked(file, fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                raise AlreadyRunningError(f"another `make up` or `ugc-servers` uses {directory}")
            time.sleep(LOCK_POLL_SECONDS)
        file.truncate()
        file.writelines(f"{name}={shlex.quote(value)}\n" for name, value in settings.items())
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def locked(file: TextIO, kind: int) -> bool:
    """Lock a file until it is closed; False when another process has locked it."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
