"""The number of workers of a server, and the shares of its limits that each of them has."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from common.settings import PREFIX, Settings

AUTO = "auto"
WORKERS_MAX = 256
# Workers share a port by SO_REUSEPORT; only Linux spreads connections over the sockets of such a port.
IS_SUPPORTED = sys.platform.startswith("linux")
S = TypeVar("S", bound=Settings)


class Divided(NamedTuple):
    """A limit of all workers together: each has an equal share, which is at least `share_min` of the settings."""

    name: str
    share_min: Callable[[Mapping[str, Any]], float] = lambda _settings: 1


def read_workers(given: object, limits: Sequence[Divided], settings: Mapping[str, Any]) -> object:
    """Return the number of workers for a value of the setting; `settings` are the others, which were read before it.

    `auto` is one for each CPU, or as many as the limits allow. ValueError when a share would be smaller than allowed.
    """
    if isinstance(given, str) and given.strip() == AUTO:
        most = min((workers_max(each, settings) for each in limits), default=WORKERS_MAX)
        return max(1, min(usable_cpus(), most, WORKERS_MAX)) if IS_SUPPORTED else 1
    try:
        workers = int(str(given))
    except ValueError as error:
        raise ValueError(f"must be a number from 1 to {WORKERS_MAX}, or {AUTO}") from error
    if not 1 <= workers <= WORKERS_MAX:
        raise ValueError(f"must be from 1 to {WORKERS_MAX}, or {AUTO}")
    if workers > 1 and not IS_SUPPORTED:
        raise ValueError("more than 1 needs Linux")
    for each in limits:
        if workers > max(1, workers_max(each, settings)):
            raise ValueError(
                f"{workers} workers are too many for {PREFIX}{each.name.upper()}: each has an equal share of it, which"
                f" must be at least {math.ceil(each.share_min(settings))}"
            )
    return workers


def workers_max(limit: Divided, settings: Mapping[str, Any]) -> int:
    """Return among how many workers a limit can be divided; any number when it is not valid itself."""
    if limit.name not in settings:
        return WORKERS_MAX
    return int(settings[limit.name] // limit.share_min(settings))


def share(settings: S, limits: Sequence[Divided], workers: int) -> S:
    """Return the settings of one worker, which have its shares of the limits."""
    if workers == 1:
        return settings
    return settings.model_copy(update={each.name: getattr(settings, each.name) // workers for each in limits})


def usable_cpus(root: Path = Path("/")) -> int:
    """Return how many CPUs this process may use, by its affinity and the quota of its control group, rounded down."""
    return max(1, int(min([len(os.sched_getaffinity(0)), *quotas(root)])))


def quotas(root: Path) -> Iterator[float]:
    """Yield the quotas of CPUs of this process's control groups and of the groups that contain them."""
    try:
        groups = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for group in groups:
        _, controllers, path = group.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = root / "sys/fs/cgroup" / ("cpu" if controllers else "")
        # In a container the path may be the host's, which does not exist there; its own group is the topmost one.
        folder = top / path.strip("/")
        for each in (folder, *folder.parents):
            yield from quota(each)
            if each == top:
                break


def quota(folder: Path) -> Iterator[float]:
    """Yield the quota of one control group, of version 2 or 1, if it has one."""
    for files in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
        try:
            allowed, period = " ".join((folder / name).read_text() for name in files).split()
        except OSError:
            continue
        if allowed.isdecimal():
            yield int(allowed) / int(period)
