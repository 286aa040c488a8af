"""Single bad events are set aside; a table that takes nothing stops the process with what is wrong."""

from __future__ import annotations

import pytest

from etl.errors import DataRefusedError, RefusalsError
from etl.refusals import ALONE_SECONDS, NOTHING_STORED_SECONDS, REFUSED_MIN, SAMPLE_ROWS, Refusals, Standstill

ERROR = DataRefusedError(6, "Cannot parse 'x'")


def refuse(refusals: Refusals, rows: int) -> None:
    for _ in range(rows):
        refusals.refused(ERROR)


def test_few() -> None:
    """So few refusals prove nothing about a ratio."""
    refuse(Refusals(ratio_max=0.01, in_a_row_max=1_000), REFUSED_MIN - 1)


def test_in_a_row() -> None:
    """One more in a row than allowed stops, and says how many, under which setting, and ClickHouse's words."""
    refusals = Refusals(ratio_max=1.0, in_a_row_max=1_000)
    refuse(refusals, 1_000)

    with pytest.raises(RefusalsError, match=r"1001 rows in a row \(UGC_ETL_REFUSED_IN_A_ROW_MAX\).*Cannot parse 'x'"):
        refusals.refused(ERROR)


def test_stored_between() -> None:
    """A stored row ends the run of refused ones."""
    refusals = Refusals(ratio_max=1.0, in_a_row_max=3)
    for _ in range(5):
        refuse(refusals, 3)
        refusals.stored(1)


def test_ratio() -> None:
    """More than the ratio stops, however they are spread; as many as the ratio do not."""
    refusals = Refusals(ratio_max=0.01, in_a_row_max=1_000)
    for _ in range(500):
        refusals.stored(99)
        refusals.refused(ERROR)

    with pytest.raises(RefusalsError, match=r"1\.\d% of the rows \(UGC_ETL_REFUSED_RATIO_MAX\)"):
        refuse(refusals, 10)


def test_old_rows_fade() -> None:
    """Years of good rows do not excuse a table that has begun to refuse: a sample's ratio is enough."""
    refusals = Refusals(ratio_max=0.01, in_a_row_max=SAMPLE_ROWS)
    refusals.stored(1_000_000_000)

    with pytest.raises(RefusalsError):
        refuse(refusals, SAMPLE_ROWS // 50)


def test_old_refusals_fade() -> None:
    """What was refused long ago is forgiven."""
    refusals = Refusals(ratio_max=0.01, in_a_row_max=1_000)
    refusals.stored(SAMPLE_ROWS)
    refuse(refusals, 900)
    refusals.stored(50 * SAMPLE_ROWS)
    refuse(refusals, 900)


def standing(*, others_pass: bool = False) -> Standstill:
    """Return what is known once partition 0 stands, at second 0."""
    standstill, error = Standstill(), RefusalsError("too many")
    error.others_pass = others_pass
    standstill.stands(0, error, 0.0)
    return standstill


def test_all_that_have_something_to_load_stand() -> None:
    """Then the process ends soon; it waits for one that may still store something."""
    standstill = standing()
    standstill.judge(ALONE_SECONDS - 0.1, {0})
    standstill.judge(ALONE_SECONDS, {0, 1})

    with pytest.raises(RefusalsError):
        standstill.judge(ALONE_SECONDS, {0})


def test_nothing_is_stored_for_long() -> None:
    """The process ends so long after the last batch of another partition, and not before."""
    standstill = standing()
    standstill.stored(1, 50.0)
    standstill.stands(0, RefusalsError("again"), 60.0)
    standstill.judge(NOTHING_STORED_SECONDS + 49.0, {0})

    with pytest.raises(RefusalsError, match="again"):
        standstill.judge(NOTHING_STORED_SECONDS + 50.0, {0, 1})


def test_good_rows_pass() -> None:
    """While the table takes good rows the partition alone stands, however long."""
    standing(others_pass=True).judge(10 * NOTHING_STORED_SECONDS, {0})
