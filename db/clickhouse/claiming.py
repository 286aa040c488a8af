"""Writes the claims of `ugc-replay` on the first server whose shard has a majority of its replicas.

A claim counts wherever it is, because the claims of all shards are read. The insert that fails on one server may have
stored its claims there nevertheless: they are of the same run, and of messages that it has not sent, so that they only
keep others from sending. No run sends anything before one insert has reached its majority.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from db.clickhouse.client import ClickHouse, RefusedError
from db.errors import UnavailableError

# An insert waits so long for the majority; the session of a dead replica counts for 30 s.
QUORUM_SECONDS_MAX = 10
# All servers are tried again until then: claims of another run may have been waiting for their majority.
CLAIM_SECONDS_MAX = 60.0
RETRY_SECONDS = 0.3
# Two inserts of one table cannot wait for a majority at the same time.
ANOTHER_WAITS = 286
NO_MAJORITY = {
    159: "TIMEOUT_EXCEEDED",
    242: "TABLE_IS_READ_ONLY",
    285: "TOO_FEW_LIVE_REPLICAS",
    ANOTHER_WAITS: "UNSATISFIED_QUORUM_FOR_PREVIOUS_WRITE",
    319: "UNKNOWN_STATUS_OF_INSERT",
    999: "KEEPER_EXCEPTION",
}


class Claims:
    """Inserts claims on one of several servers, of any shards."""

    def __init__(self, servers: Sequence[ClickHouse], sleep: Callable[[float], None] = time.sleep) -> None:
        self._servers = servers
        self._sleep = sleep
        self._chosen = 0

    def insert(self, query: str, rows: list[tuple[Any, ...]]) -> None:
        """Insert claims durably; UnavailableError if no shard has a majority, and then they may be stored."""
        deadline = time.monotonic() + CLAIM_SECONDS_MAX
        while problems := self._try_each(query, rows):
            # Only another run's claims go away by themselves.
            if ANOTHER_WAITS not in problems or time.monotonic() >= deadline:
                raise UnavailableError(
                    "no shard has a majority of its replicas, which a claim needs; nothing of this batch was sent. "
                    "Start the replicas, or name servers of a shard that has them in alt_hosts of UGC_CLICKHOUSE_URL: "
                    + "; ".join(dict.fromkeys(problems.values()))
                )
            self._sleep(RETRY_SECONDS)

    def _try_each(self, query: str, rows: list[tuple[Any, ...]]) -> dict[int, str]:
        """Insert on the first server that can; return nothing then, else the last error of each code."""
        problems: dict[int, str] = {}
        for _ in self._servers:
            try:
                self._servers[self._chosen].insert(query, rows)
            except RefusedError as error:
                if error.code not in NO_MAJORITY:
                    raise
                problems[error.code] = str(error)
            except UnavailableError as error:
                problems[-1] = str(error)
            else:
                return {}
            self._chosen = (self._chosen + 1) % len(self._servers)
        return problems
