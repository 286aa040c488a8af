"""Makes the archive of Kafka's classes with which brokers start in half of the time: a part of the set-up."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from local.kafka.files import ARCHIVE, CHECKPOINT, FOLDER, FORMATTED, HOST, QUICK, broker, formatter, write_files
from local.setup.steps import SetupError, run

SECONDS_MAX = 120.0
POLL_SECONDS = 0.1
# Any id does for a broker that runs only here.
CLUSTER = "AAAAAAAAAAAAAAAAAAAABA"
SESSION_MILLISECONDS = 10_000


def make_archive(log: Path) -> None:
    """Start a broker, and stop it: the JVM then writes the classes that it has loaded. Keep its formatted data too.

    Where this fails, the archive is an empty file, and brokers start without it: other makes of Java have no archives.
    """
    ARCHIVE.unlink(missing_ok=True)
    FORMATTED.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(dir=FOLDER, prefix="archive-") as name:
        folder = Path(name)
        port, controller_port = free_ports(2)
        write_files(folder, port, controller_port, SESSION_MILLISECONDS)
        try:
            run(formatter(CLUSTER), log, directory=folder)
            run_broker(folder, port, log)
        except SetupError as error:
            ARCHIVE.touch()
            with log.open("a", encoding="utf-8") as output:
                output.write(f"Kafka starts without an archive of its classes: {error}\n")
        else:
            (folder / CHECKPOINT).replace(FORMATTED)
            (folder / ARCHIVE.name).replace(ARCHIVE)


def run_broker(folder: Path, port: int, log: Path) -> None:
    """Run a broker until its port answers, with the archive as its output; SetupError when there is none."""
    archive = folder / ARCHIVE.name
    with (
        log.open("ab") as output,
        subprocess.Popen(
            broker([QUICK, f"-XX:ArchiveClassesAtExit={archive}"]),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        ) as process,
    ):
        try:
            deadline = time.monotonic() + SECONDS_MAX
            while process.poll() is None and time.monotonic() < deadline and not answers(port):
                time.sleep(POLL_SECONDS)
            process.terminate()
            process.wait(max(1.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired as error:
            raise SetupError(f"no archive after {SECONDS_MAX:g} s") from error
        finally:
            process.kill()
    if not archive.exists():
        raise SetupError(f"Kafka ended with status {process.returncode} and left no archive")


def answers(port: int) -> bool:
    """Return whether a port accepts connections, which Kafka does once it has started."""
    try:
        with socket.create_connection((HOST, port), timeout=1):
            return True
    except OSError:
        return False


def free_ports(count: int) -> list[int]:
    """Return ports that nothing uses now."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.create_server((HOST, 0))) for _ in range(count)]
        return [probe.getsockname()[1] for probe in probes]
