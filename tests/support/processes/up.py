"""`ugc-up` for tests: on ports and data of its own, its children found by asking the system."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from common.settings import Address
from local.processes.program import free_port, port_answers
from tests.support.processes.system import await_equal

# What tells the children of ugc-up apart by their command lines.
PARTS = {
    "kafka": "kafka.Kafka",
    "clickhouse": "local.clickhouse.host",
    "ingest": "services.ingest",
    "gateway": "-m gateway",
    "etl": "-m etl",
}


@dataclass
class Up:
    """One `ugc-up`."""

    folder: Path
    settings: dict[str, str] = field(default_factory=dict)
    ports: dict[str, int] = field(
        default_factory=lambda: {
            name: free_port()
            for name in (
                "UGC_LOCAL_KAFKA_PORT",
                "UGC_LOCAL_KAFKA_CONTROLLER_PORT",
                "UGC_LOCAL_CLICKHOUSE_PORT",
                "UGC_LOCAL_CLICKHOUSE_HTTP_PORT",
                "UGC_INGEST_LISTEN",
                "UGC_GATEWAY_LISTEN",
            )
        }
    )

    @property
    def database(self) -> str:
        return f"clickhouse://default@127.0.0.1:{self.ports['UGC_LOCAL_CLICKHOUSE_PORT']}/ugc"

    @property
    def ingest(self) -> str:
        return f"127.0.0.1:{self.ports['UGC_INGEST_LISTEN']}"

    @property
    def gateway(self) -> str:
        return f"127.0.0.1:{self.ports['UGC_GATEWAY_LISTEN']}"

    @property
    def said(self) -> str:
        return (self.folder / "up.out").read_text()

    def environment(self) -> dict[str, str]:
        listens = {
            name: f"127.0.0.1:{port}" if name.endswith("LISTEN") else str(port) for name, port in self.ports.items()
        }
        return {**os.environ, "UGC_LOCAL_DIRECTORY": str(self.folder / "local"), **listens, **self.settings}

    @contextlib.contextmanager
    def started(self, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        """Start it; on the way out nothing of it may be left, whatever the test did."""
        with (self.folder / "up.out").open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "local.up", *arguments],
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
                env=self.environment(),
            )
        try:
            yield process
        finally:
            children = descendants(process.pid)
            process.kill()
            process.wait()
            for child in children:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)

    def open_ports(self) -> list[str]:
        return [name for name, port in self.ports.items() if port_answers(Address("127.0.0.1", port))]


def part(up: subprocess.Popen[bytes], name: str) -> int:
    """Return the process that runs a part now."""
    return next(pid for pid in descendants(up.pid) if PARTS[name] in command_line(pid))


def parts(up: subprocess.Popen[bytes]) -> dict[str, int]:
    """Return the processes of all parts that run now."""
    lines = {pid: command_line(pid) for pid in descendants(up.pid)}
    return {name: pid for name, mark in PARTS.items() for pid, line in lines.items() if mark in line}


def descendants(ancestor: int) -> list[int]:
    """Return the processes below one, children before grandchildren."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(folder.name))
    found = list(children.get(ancestor, []))
    for pid in found:
        found.extend(children.get(pid, []))
    return found


def command_line(pid: int) -> str:
    """Return a process's command line; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def alive(pids: list[int]) -> list[str]:
    """Return the command lines of those processes that still run."""
    return [line for line in map(command_line, pids) if line]


def await_words(up: Up, words: str) -> None:
    """Wait until `ugc-up` has printed something."""
    await_equal(lambda: words in up.said or up.said, wanted=True)
