"""How many rows ClickHouse refuses: single bad events are set aside, too many stop their partition.

A table that takes nothing stops the process: then no partition stores anything any more. While it takes good rows a
partition stands alone, for no restart would help it.
"""

from __future__ import annotations

import math
from collections.abc import Set

from etl.errors import DataRefusedError, RefusalsError

# The ratio is that of about so many rows, newer ones counting more.
SAMPLE_ROWS = 100_000
# So few prove nothing about a ratio.
REFUSED_MIN = 100
# When each partition with something to load stands, the process stops so long after one stopped.
ALONE_SECONDS = 5.0
# When one stands and no other has stored anything for so long, the process stops, whatever the others wait for.
NOTHING_STORED_SECONDS = 300.0


class Refusals:
    """Counts rows that were stored and refused."""

    def __init__(self, ratio_max: float, in_a_row_max: int) -> None:
        self._ratio_max = ratio_max
        self._in_a_row_max = in_a_row_max
        self._in_a_row = 0
        self._refused = 0.0
        self._rows = 0.0

    def stored(self, rows: int) -> None:
        """Note rows that ClickHouse took."""
        self._in_a_row = 0
        self._note(rows, 0)

    def another(self) -> Refusals:
        """Return a new counter with the same limits, for another partition."""
        return Refusals(self._ratio_max, self._in_a_row_max)

    def expected(self, rows: int) -> None:
        """Note rows that are about to be judged one by one: the ratio of those refused is that of all of them."""
        self._note(rows, 0)

    def passed(self) -> None:
        """Note that a row would be taken."""
        self._in_a_row = 0

    def refused(self, error: DataRefusedError) -> None:
        """Note a row that it did not take; RefusalsError when it is one too many."""
        self._in_a_row += 1
        self._note(1, 1)
        if self._in_a_row > self._in_a_row_max:
            raise RefusalsError(
                f"ClickHouse has refused {self._in_a_row} rows in a row (UGC_ETL_REFUSED_IN_A_ROW_MAX), "
                f"the last for: {error}"
            )
        if self._refused >= REFUSED_MIN and self._refused > self._ratio_max * self._rows:
            raise RefusalsError(
                f"ClickHouse refuses {self._refused / self._rows:.1%} of the rows (UGC_ETL_REFUSED_RATIO_MAX), "
                f"the last for: {error}"
            )

    def _note(self, rows: int, refused: int) -> None:
        self._rows += rows
        self._refused += refused
        if self._rows > SAMPLE_ROWS:
            faded = SAMPLE_ROWS / self._rows
            self._rows *= faded
            self._refused *= faded


class Standstill:
    """The partitions of which too many rows were refused, and whether anything is still stored elsewhere."""

    def __init__(self) -> None:
        self._since: dict[int, tuple[float, RefusalsError]] = {}
        self._stored_at = -math.inf

    def stands(self, partition: int, error: RefusalsError, now: float) -> None:
        """Note a partition that stopped, for the first time or again."""
        since, _ = self._since.get(partition, (now, error))
        self._since[partition] = (since, error)

    def stored(self, partition: int, now: float) -> None:
        """Note a batch that was stored."""
        self._stored_at = now
        self._since.pop(partition, None)

    def gone(self, partition: int) -> None:
        """Forget a partition that is another member's."""
        self._since.pop(partition, None)

    def judge(self, now: float, loading: Set[int]) -> None:
        """Raise a partition's RefusalsError when it is the table, and not its events; `loading` have some to load."""
        if any(error.others_pass for _, error in self._since.values()):
            return
        do_all_stand = loading <= self._since.keys()
        for since, error in self._since.values():
            is_silent = now - max(since, self._stored_at) >= NOTHING_STORED_SECONDS
            if is_silent or (do_all_stand and self._stored_at < since <= now - ALONE_SECONDS):
                raise error
