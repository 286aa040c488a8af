"""The metadata of a committed offset, whichever program wrote it, as the audit reads it."""

from __future__ import annotations

import pytest

from db.kafka.topics import PartitionOffsets


@pytest.mark.parametrize(
    ("metadata", "end"),
    [
        ('{"v":1,"topic":"x","end":20,"rows":1}', 20),
        ('{"v":1,"topic":"x","end":5}', 9),
        ('{"v":1,"topic":"x"}', 9),
        ("", 9),
        ("reset by hand", 9),
        ("[1]", 9),
        ("7", 9),
        ("null", 9),
        ('{"end":null}', 9),
        ('{"end":"x"}', 9),
        ('{"end":1e999}', 9),
        ('{"end":NaN}', 9),
        ('{"end":{}}', 9),
        ("[" * 4_000, 9),
        ('{"end":' + "9" * 4_500 + "}", 9),
    ],
)
def test_end(metadata: str, end: int) -> None:
    """The end of a plan is the last offset that may be stored; other metadata allows none and is not an error."""
    assert PartitionOffsets(0, 0, 100, 10, metadata).end == end
