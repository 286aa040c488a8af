"""The workers of a server: their processes, their connections, and what they have logged."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from local.processes.ports import inodes
from tests.support.processes.up import command_line, descendants

WORKER = re.compile(r"\bworker=(\d+) ")


def workers(parent: int) -> dict[int, int]:
    """Return the process ids of a parent's workers, by their numbers."""
    found = {pid: WORKER.search(command_line(pid)) for pid in descendants(parent)}
    return {int(match[1]): pid for pid, match in found.items() if match}


def lines(log: str) -> list[dict[str, Any]]:
    """Return the lines of a log; those of the parent have no worker's number unless they are about one."""
    return [json.loads(line) for line in log.splitlines()]


def serving(log: str) -> list[int]:
    """Return the numbers of the workers that have begun to serve, each time that they did."""
    return [line["worker"] for line in lines(log) if line["event"] == "serving"]


def connections(pid: int, port: int) -> int:
    """Return how many connections to a port a process has accepted, without its listening socket."""
    sockets = {f"socket:[{inode}]" for inode in inodes(port)}
    return sum(target(entry) in sockets for entry in Path(f"/proc/{pid}/fd").iterdir()) - 1


def target(entry: Path) -> str:
    """Return what a link points to; empty if it has gone meanwhile."""
    try:
        return str(entry.readlink())
    except OSError:
        return ""
