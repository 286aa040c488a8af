"""Which shards are asked for rows of a partition: one that is not needed must not delay it."""

from __future__ import annotations

import pytest

from etl.placement import Placement


@pytest.mark.parametrize(
    ("placement", "first", "is_on_its_shard"),
    [
        (Placement(2, 0), 0, True),
        # The window of a partition with fewer events than the horizon begins before its first offset.
        (Placement(2, 0), -1_000_000, True),
        (Placement(2, 100), -1_000_000, False),
        (Placement(2, 100), 99, False),
        (Placement(2, 100), 100, True),
        (Placement.unknown(2), 2**62, False),
        (Placement.unknown(1), 0, True),
    ],
)
def test_shards_that_are_asked(placement: Placement, first: int, *, is_on_its_shard: bool) -> None:
    """Rows before the recorded offset may be on any shard, later ones are on the partition's own."""
    assert placement.is_on_its_shard(first) == is_on_its_shard
