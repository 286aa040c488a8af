"""CPU time of whole processes with their children, and of their threads, in nanoseconds."""

from __future__ import annotations

import contextlib
import re
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

NUMBER = re.compile(r"[-_]?\d+$")


@dataclass(frozen=True)
class CpuTime:
    """Nanoseconds that processes have used; `threads` by name, where the threads of one pool have one name."""

    total: int = 0
    threads: Counter[str] = field(default_factory=Counter)

    def since(self, before: CpuTime) -> CpuTime:
        """Return what was used after `before`."""
        return CpuTime(self.total - before.total, self.threads - before.threads)


def cpu_times(roots: Mapping[str, int]) -> dict[str, CpuTime]:
    """Return the CPU time of each process of `roots`, a pid by its name, together with its descendants."""
    return {name: cpu_time(pid) for name, pid in roots.items()}


def cpu_time(pid: int) -> CpuTime:
    """Return the CPU time of a process and its descendants."""
    total, threads = 0, Counter[str]()
    for each in with_descendants(pid):
        # A process may end meanwhile.
        with contextlib.suppress(OSError):
            total += time.clock_gettime_ns(process_clock(each))
            threads.update(thread_times(each))
    return CpuTime(total, threads)


def process_clock(pid: int) -> int:
    """Return the id of the clock that counts the CPU time of a process, as clock_getcpuclockid(3) does on Linux."""
    return (~pid << 3) | 2


def with_descendants(pid: int) -> Iterable[int]:
    """Yield a process and all processes below it."""
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in children.read_text().split():
                yield from with_descendants(int(child))


def thread_times(pid: int) -> Counter[str]:
    """Return the nanoseconds of the threads of a process by their names."""
    found: Counter[str] = Counter()
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            nanoseconds = int((thread / "schedstat").read_text().split()[0])
            name = "main" if int(thread.name) == pid else NUMBER.sub("", (thread / "comm").read_text().strip())
            found[name] += nanoseconds
    return found
