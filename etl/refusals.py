"""The partitions that cannot go on without a person, and the count of refused rows that may halt one.

A table that accepts no rows stops the process, because then no partition stores anything. While the table accepts good
rows, only the partition with the bad events is halted, because a restart would not help it.
"""

from __future__ import annotations

import math
from collections.abc import Set

from etl.errors import DataRefusedError, LogChangedError, RefusalsError

# The ratio is that of about so many rows, with newer ones counting more.
SAMPLE_ROWS = 100_000
# With fewer refused rows the ratio is not meaningful.
REFUSED_MIN = 100
# If every partition with work is halted, the process stops so long after one was.
ALL_HALTED_SECONDS = 5.0
# If a partition is halted and no other has stored anything for so long, the process stops.
NOTHING_STORED_SECONDS = 300.0


class Refusals:
    """Counts stored and refused rows."""

    def __init__(self, ratio_max: float, in_a_row_max: int) -> None:
        self._ratio_max = ratio_max
        self._in_a_row_max = in_a_row_max
        self._in_a_row = 0
        self._refused = 0.0
        self._rows = 0.0

    def stored(self, rows: int) -> None:
        """Count rows that ClickHouse stored."""
        self._in_a_row = 0
        self._count(rows, 0)

    def new_counter(self) -> Refusals:
        """Return a new counter with the same limits, for another partition."""
        return Refusals(self._ratio_max, self._in_a_row_max)

    def expected(self, rows: int) -> None:
        """Count rows that are about to be probed, so that the ratio of the refused ones is that of all of them."""
        self._count(rows, 0)

    def passed(self) -> None:
        """Note a probe that ClickHouse accepted, which ends a series of refused rows."""
        self._in_a_row = 0

    def refused(self, error: DataRefusedError) -> None:
        """Count a refused row; RefusalsError if it is one too many."""
        self._in_a_row += 1
        self._count(1, 1)
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

    def _count(self, rows: int, refused: int) -> None:
        self._rows += rows
        self._refused += refused
        if self._rows > SAMPLE_ROWS:
            faded = SAMPLE_ROWS / self._rows
            self._rows *= faded
            self._refused *= faded


class HaltedPartitions:
    """The partitions that cannot go on, and when anything was last stored.

    Too many rows of a partition were refused, or its log has changed. The others go on.
    """

    def __init__(self) -> None:
        self._halted: dict[int, tuple[float, RefusalsError | LogChangedError]] = {}
        self._stored_at = -math.inf

    def add(self, partition: int, error: RefusalsError | LogChangedError, now: float) -> None:
        """Add a partition; the time of its first halt is kept."""
        since, _ = self._halted.get(partition, (now, error))
        self._halted[partition] = (since, error)

    def stored(self, partition: int, now: float) -> None:
        """Note that a batch of a partition was stored, which ends its halt."""
        self._stored_at = now
        self._halted.pop(partition, None)

    def reason(self, partition: int) -> str:
        """Return why a partition is halted; empty if it is not."""
        _, error = self._halted.get(partition, (0.0, None))
        if error is None:
            return ""
        if isinstance(error, RefusalsError):
            return "is halted: ClickHouse refuses too many of its rows"
        return "is halted: the log does not hold what was committed"

    def remove(self, partition: int) -> None:
        """Remove a partition that this process no longer owns."""
        self._halted.pop(partition, None)

    def raise_if_all(self, now: float, with_work: Set[int]) -> None:
        """Raise a partition's RefusalsError if the table is at fault; `with_work` are the partitions with work."""
        refused = [(since, error) for since, error in self._halted.values() if isinstance(error, RefusalsError)]
        if any(error.accepts_good_rows for _, error in refused):
            return
        all_halted = with_work <= self._halted.keys()
        for since, error in refused:
            nothing_stored = now - max(since, self._stored_at) >= NOTHING_STORED_SECONDS
            if nothing_stored or (all_halted and self._stored_at < since <= now - ALL_HALTED_SECONDS):
                raise error
