"""Where each partition is rewound to: the first message without a row that Kafka still has, never forward."""

from __future__ import annotations

import json
import uuid

import pytest

from db.errors import ConflictError
from db.kafka.topics import PartitionOffsets
from db.rewind_report import lost_text
from db.rewinding import Range, Rewind, gaps_start, rewind_partition

TOPIC = uuid.UUID(int=1)


def rewound(gaps: list[Range], *, low: int = 0, high: int = 100, committed: int = 90, metadata: str = "") -> Rewind:
    """Return the rewind of a partition whose tables lack these ranges."""
    return rewind_partition(TOPIC, PartitionOffsets(3, low, high, committed, metadata), 90, gaps)


def test_nothing_missing() -> None:
    """A partition whose tables hold everything before the committed offset stays where it is."""
    found = rewound([])

    assert (found.target, found.again, found.missing, found.lost) == (90, 0, 0, 0)


def test_end_missing() -> None:
    """The tables of a backup end earlier: the offset is set to their end."""
    found = rewound([(40, 89)])

    assert (found.target, found.again, found.missing, found.restorable) == (40, 50, 50, 50)


@pytest.mark.parametrize(
    ("low", "first_row", "start"), [(60, None, 0), (60, 40, 40), (60, 70, 60), (95, 93, 90), (0, None, 0)]
)
def test_where_gaps_begin(low: int, first_row: int | None, start: int) -> None:
    """Gaps begin with what is stored or Kafka has; without a row, everything before the committed offset is missing."""
    assert gaps_start(low, 90, first_row) == start


def test_no_row_is_left() -> None:
    """What Kafka has deleted of a partition without rows is lost, at most: the etl may have begun later."""
    found = rewind_partition(TOPIC, PartitionOffsets(3, 60, 100, 90), None, [(gaps_start(60, 90, None), 89)])

    assert (found.target, found.missing, found.lost, found.restorable) == (60, 90, 60, 30)
    assert lost_text(found).startswith("partition 3: at most 60 messages, offsets 0 to 59: ")


def test_hole_in_the_middle() -> None:
    """A hole before the tables' end counts too, because the etl reads on from the first message without a row."""
    found = rewound([(10, 12), (80, 89)])

    assert (found.target, found.again, found.missing, found.restorable) == (10, 80, 13, 13)


def test_kafka_has_deleted_a_part() -> None:
    """The offset is set to the first message that Kafka has; what it has deleted is lost, and counted."""
    found = rewound([(10, 12), (40, 89)], low=60)

    assert (found.target, found.again) == (60, 30)
    assert (found.missing, found.lost, found.restorable) == (53, 23, 30)
    assert found.lost_ranges == ((10, 12), (40, 59))


def test_kafka_has_deleted_all_of_it() -> None:
    """If Kafka has nothing of what is missing, there is nothing to read again."""
    found = rewound([(10, 12)], low=60)

    assert (found.target, found.again, found.lost) == (90, 0, 3)


def test_log_begins_after_the_committed_offset() -> None:
    """An offset that Kafka has deleted is not moved forward: the etl stops there, and a person must decide."""
    found = rewound([(40, 89)], low=95)

    assert (found.target, found.again, found.lost) == (90, 0, 50)


def test_many_ranges_lost() -> None:
    """Only the first ranges are named, but all of them are counted."""
    found = rewound([(at, at) for at in range(0, 60, 2)], low=60)

    assert (found.lost, len(found.lost_ranges)) == (30, 10)


def test_offset_of_an_earlier_topic() -> None:
    """An offset that the etl committed for an earlier topic of this name is ignored, as the etl does."""
    metadata = json.dumps({"v": 1, "topic": str(uuid.UUID(int=2))})

    assert rewound([], committed=500, metadata=metadata).committed == 0
    assert rewound([], metadata=json.dumps({"v": 1, "topic": str(TOPIC)})).committed == 90


@pytest.mark.parametrize("metadata", ["", "[]", "{", "7", '{"v": 1}', "[" * 100_000])
def test_other_metadata(metadata: str) -> None:
    """Metadata without a topic, which another program wrote, leaves the committed offset as it is."""
    assert rewound([], metadata=metadata).committed == 90


def test_log_was_truncated() -> None:
    """If more is committed than the log has, its offsets may be given again: nothing is decided."""
    with pytest.raises(ConflictError, match="partition 3: offset 90 is committed, but the log ends at 80"):
        rewound([], high=80)
