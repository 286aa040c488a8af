"""Failpoints: places in the code at which a fault test kills or freezes this process. For tests only.

`failpoint(name)` does nothing unless UGC_FAILPOINT names it. UGC_FAILPOINT is `name:action@count[,...]`. The action is
`kill` (SIGKILL) or `stop` (SIGSTOP, until SIGCONT is sent). It happens the count-th time that the failpoint is reached.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from pydantic import BeforeValidator
from pydantic_settings import NoDecode

from common.settings import Documented, Settings

Name = Literal[
    "before-plan",
    "after-plan",
    "before-data",
    "mid-block",
    "after-data",
    "next-prepared",
    "after-acknowledgement",
    "after-commit",
    "in-recovery",
    "in-rebalance",
    "between-produce-and-report",
]
MEANINGS: dict[Name, str] = {
    "before-plan": "etl: a batch is prepared, its plan is not committed",
    "after-plan": "etl: the plan is committed, nothing of the insert was sent",
    "before-data": "etl: ClickHouse has the INSERT, no byte of its data was sent",
    "mid-block": "etl: half of a block was sent (tests/support/faults/mid_block.py)",
    "after-data": "etl: all data and its end were sent, the answer was not read",
    "next-prepared": "etl: while an insert runs, the next batch is decoded, and not planned",
    "after-acknowledgement": "etl: ClickHouse has acknowledged, the offset was not committed",
    "after-commit": "etl: the offset was committed without a plan",
    "in-recovery": "etl: a plan without a clean acknowledgement is being recovered",
    "in-rebalance": "etl: inside the callback that assigns or revokes partitions",
    "between-produce-and-report": "ingest: all records of a request were handed to the producer, no report was awaited",
}
ACTIONS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}


@dataclass(frozen=True)
class Failpoint:
    """What happens to the process, and at which time of reaching the point."""

    name: str
    action: signal.Signals
    count: int


def parse_failpoints(text: object) -> tuple[Failpoint, ...]:
    """Parse UGC_FAILPOINT; raises ValueError, which names the part that is not valid."""
    return text if isinstance(text, tuple) else tuple(parse_failpoint(part) for part in str(text).split(","))


def parse_failpoint(text: str) -> Failpoint:
    """Parse one `name:action@count`."""
    name, _, rest = text.partition(":")
    action, _, count = rest.partition("@")
    if name not in get_args(Name):
        raise ValueError(f"must name one of {', '.join(get_args(Name))}, not {name!r}")
    if action not in ACTIONS or not count.isascii() or not count.isdigit() or int(count) < 1:
        raise ValueError(f"must be name:{'|'.join(ACTIONS)}@count with a count from 1, not {text!r}")
    return Failpoint(name, ACTIONS[action], int(count))


class FailpointSettings(Settings):
    """The failpoints of the process; empty outside fault tests."""

    failpoint: Annotated[
        tuple[Failpoint, ...], NoDecode, BeforeValidator(parse_failpoints), Documented("name:action@count,...")
    ] = ()
    """Failpoints at which the process kills or stops itself, as `name:kill@count` or `name:stop@count` separated by
    commas; for fault tests only."""


_waiting: list[Failpoint] = []
_reached: dict[str, int] = {}


def arm(failpoints: Iterable[Failpoint]) -> None:
    """Activate failpoints; called once, when the process starts."""
    _waiting[:] = failpoints
    _reached.clear()


def failpoint(name: Name) -> None:
    """Kill or freeze the process if a fault test has armed this point; do nothing otherwise."""
    if not _waiting:
        return
    _reached[name] = _reached.get(name, 0) + 1
    for each in _waiting:
        if (each.name, each.count) == (name, _reached[name]):
            os.kill(os.getpid(), each.action)
