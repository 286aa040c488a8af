"""When refused rows halt their partition, and when they stop the process."""

from __future__ import annotations

import pytest

from etl.errors import DataRefusedError, RefusalsError
from etl.refusals import (
    ALL_HALTED_SECONDS,
    NOTHING_STORED_SECONDS,
    REFUSED_MIN,
    SAMPLE_ROWS,
    HaltedPartitions,
    Refusals,
)

ERROR = DataRefusedError(6, "Cannot parse 'x'")


def refuse(refusals: Refusals, rows: int) -> None:
    for _ in range(rows):
        refusals.refused(ERROR)


def test_few() -> None:
    """With fewer than REFUSED_MIN refused rows the ratio does not count."""
    refuse(Refusals(ratio_max=0.01, in_a_row_max=1_000), REFUSED_MIN - 1)


def test_in_a_row() -> None:
    """One more refused row in a row than allowed is an error, with the number, the setting, and ClickHouse's text."""
    refusals = Refusals(ratio_max=1.0, in_a_row_max=1_000)
    refuse(refusals, 1_000)

    with pytest.raises(RefusalsError, match=r"1001 rows in a row \(UGC_ETL_REFUSED_IN_A_ROW_MAX\).*Cannot parse 'x'"):
        refusals.refused(ERROR)


def test_stored_between() -> None:
    """A stored row ends a series of refused ones."""
    refusals = Refusals(ratio_max=1.0, in_a_row_max=3)
    for _ in range(5):
        refuse(refusals, 3)
        refusals.stored(1)


def test_ratio() -> None:
    """A higher ratio than allowed is an error, however the refused rows are distributed; the allowed one is not."""
    refusals = Refusals(ratio_max=0.01, in_a_row_max=1_000)
    for _ in range(500):
        refusals.stored(99)
        refusals.refused(ERROR)

    with pytest.raises(RefusalsError, match=r"1\.\d% of the rows \(UGC_ETL_REFUSED_RATIO_MAX\)"):
        refuse(refusals, 10)


def test_old_rows_fade() -> None:
    """Old good rows fade: the ratio is that of the last SAMPLE_ROWS."""
    refusals = Refusals(ratio_max=0.01, in_a_row_max=SAMPLE_ROWS)
    refusals.stored(1_000_000_000)

    with pytest.raises(RefusalsError):
        refuse(refusals, SAMPLE_ROWS // 50)


def test_old_refusals_fade() -> None:
    """Old refused rows fade."""
    refusals = Refusals(ratio_max=0.01, in_a_row_max=1_000)
    refusals.stored(SAMPLE_ROWS)
    refuse(refusals, 900)
    refusals.stored(50 * SAMPLE_ROWS)
    refuse(refusals, 900)


def halted(*, accepts_good_rows: bool = False) -> HaltedPartitions:
    """Return the halted partitions after partition 0 was halted, at second 0."""
    partitions, error = HaltedPartitions(), RefusalsError("too many")
    error.accepts_good_rows = accepts_good_rows
    partitions.add(0, error, 0.0)
    return partitions


def test_all_partitions_with_work_are_halted() -> None:
    """The process then ends soon; it waits for a partition that may still store something."""
    partitions = halted()
    partitions.raise_if_all(ALL_HALTED_SECONDS - 0.1, {0})
    partitions.raise_if_all(ALL_HALTED_SECONDS, {0, 1})

    with pytest.raises(RefusalsError):
        partitions.raise_if_all(ALL_HALTED_SECONDS, {0})


def test_nothing_is_stored_for_long() -> None:
    """The process ends NOTHING_STORED_SECONDS after the last batch of another partition, and not before."""
    partitions = halted()
    partitions.stored(1, 50.0)
    partitions.add(0, RefusalsError("again"), 60.0)
    partitions.raise_if_all(NOTHING_STORED_SECONDS + 49.0, {0})

    with pytest.raises(RefusalsError, match="again"):
        partitions.raise_if_all(NOTHING_STORED_SECONDS + 50.0, {0, 1})


def test_good_rows_are_accepted() -> None:
    """While the table accepts good rows, only the partition is halted, however long that lasts."""
    halted(accepts_good_rows=True).raise_if_all(10 * NOTHING_STORED_SECONDS, {0})
