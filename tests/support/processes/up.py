"""`ugc-up` for tests: with its own ports and data; its child processes are found through /proc."""

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
from local.processes.ports import free_port, port_answers
from tests.support.processes.system import await_equal

# What distinguishes the child processes of ugc-up by their command lines.
PARTS = {
    "kafka": "kafka.Kafka",
    "clickhouse": "local.clickhouse.host",
    "ingest": "services.ingest",
    "gateway": "-m gateway",
    "etl": "-m etl",
}


@dataclass
class Up:
    """One `ugc-up`: its folder, its settings besides the ports, and its ports by setting."""

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
                "UGC_INGEST_MANAGEMENT_LISTEN",
                "UGC_GATEWAY_MANAGEMENT_LISTEN",
                "UGC_ETL_MANAGEMENT_LISTEN",
                "UGC_LOCAL_STATUS_LISTEN",
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
    def output(self) -> str:
        return (self.folder / "up.out").read_text()

    def environment(self) -> dict[str, str]:
        listens = {
            name: f"127.0.0.1:{port}" if name.endswith("LISTEN") else str(port) for name, port in self.ports.items()
        }
        return {**os.environ, "UGC_LOCAL_DIRECTORY": str(self.folder / "local"), **listens, **self.settings}

    @contextlib.contextmanager
    def started(self, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        """Start it with arguments; kill all of its processes when the block ends."""
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
    """Return the process that runs a part of the system."""
    return next(pid for pid in descendants(up.pid) if PARTS[name] in command_line(pid))


def parts(up: subprocess.Popen[bytes]) -> dict[str, int]:
    """Return the processes of all parts that run."""
    lines = {pid: command_line(pid) for pid in descendants(up.pid)}
    return {name: pid for name, mark in PARTS.items() for pid, line in lines.items() if mark in line}


def descendants(ancestor: int) -> list[int]:
    """Return the descendants of a process, children before grandchildren."""
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
    """Return the command line of a process; empty when it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def alive(pids: list[int]) -> list[str]:
    """Return the command lines of those processes that still run."""
    return [line for line in map(command_line, pids) if line]


def await_output(up: Up, words: str) -> None:
    """Wait until `ugc-up` has printed some words."""
    await_equal(lambda: words in up.output or up.output, wanted=True)
