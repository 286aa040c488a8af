"""What the audit asks about added partitions: repeats across a recorded change, and changes that were not recorded."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from common.partition_change import PREFIX, PartitionChange, read_change
from db.clickhouse.client import ClickHouse
from db.conservation import EXAMPLES_MAX

RECORDS = """
SELECT DISTINCT kafka_partition, kafka_offset, hex(raw) FROM rejected_events{suffix}
WHERE kafka_topic_id = %(topic_id)s AND reason IN ('partitions_added', 'undecodable') AND startsWith(raw, %(prefix)s)
"""
# The partition of a user among so many: Kafka's clients hash the key, which is the user_id as text, by murmur2.
PARTITION = "kafkaMurmurHash(toString(user_id)) %% %(partitions)s"
OF = "transform(toInt64(kafka_partition), %(numbers)s, %({name})s, toInt64(0))"
# The distance is that of etl/windows.py: from the copy to the end of its partition, and from the record to the repeat.
REPEATED = f"""
SELECT partition, count(), groupArray(%(examples)s)((event_id, user_id, former_partition, former_offset, offset)) FROM
(
    SELECT event_id, user_id, kafka_partition AS partition, kafka_offset AS offset,
        toInt64(kafka_offset) - {OF.format(name="records")} AS behind
    FROM events{{suffix}}
    WHERE kafka_topic_id = %(topic_id)s AND behind BETWEEN 1 AND %(window)s AND {PARTITION} = kafka_partition
) AS later
GLOBAL INNER JOIN
(
    SELECT event_id, user_id, kafka_partition AS former_partition, kafka_offset AS former_offset,
        {OF.format(name="ends")} - toInt64(kafka_offset) AS before
    FROM events{{suffix}}
    WHERE kafka_topic_id = %(topic_id)s AND before BETWEEN 1 AND %(window)s
) AS earlier USING (event_id, user_id)
WHERE partition != former_partition AND behind + before <= %(window)s
GROUP BY partition
"""  # noqa: S608 -- constants
# Only what a repeat could still concern: the last offsets of each partition, behind its last record.
MISPLACED = f"""
SELECT count() FROM events{{suffix}}
WHERE kafka_topic_id = %(topic_id)s AND toInt64(kafka_offset) > {OF.format(name="records")}
    AND toInt64(kafka_offset) >= {OF.format(name="ends")} - %(window)s AND {PARTITION} != kafka_partition
"""  # noqa: S608 -- constants


class RepeatedAcross(NamedTuple):
    """The events that a partition has stored again although the change was recorded: their number, and examples."""

    events: int
    examples: tuple[str, ...]


class PartitionChanges:
    """The recorded changes of a topic, and what its rows show of them."""

    def __init__(self, connection: ClickHouse, topic_id: uuid.UUID, *, cluster: bool) -> None:
        self._connection = connection
        self._topic_id = topic_id
        self._suffix = "_all" if cluster else ""
        # The offset of the record in each partition, by the change.
        self._records: dict[PartitionChange, dict[int, int]] = {}
        for partition, offset, value in self._rows(RECORDS, {"prefix": PREFIX.decode()}):
            change = read_change(bytes.fromhex(value))
            if change is not None and change.topic == str(topic_id):
                self._records.setdefault(change, {})[partition] = offset

    def repeated(self, window: int) -> dict[int, RepeatedAcross]:
        """Return the events that were stored again behind a record within the window, by partition."""
        found: dict[int, RepeatedAcross] = {}
        for change, records in self._records.items():
            # Where the record is not stored yet, nothing behind it is.
            places = [records.get(number, 2**62) for number in range(change.partitions)]
            parameters = self._parameters(change.partitions, window, places, change.ends)
            for partition, count, examples in self._rows(REPEATED, parameters | {"examples": EXAMPLES_MAX}):
                known = found.get(partition, RepeatedAcross(0, ()))
                texts = tuple(
                    f"{event_id} of user {user_id} at offset {offset}, before the change at offset {former} of "
                    f"partition {former_partition}"
                    for event_id, user_id, former_partition, former, offset in examples
                )
                # Two records of one change cover nearly the same events.
                found[partition] = max(known, RepeatedAcross(count, texts), key=lambda each: each.events)
        return found

    def misplaced(self, ends: Mapping[int, int], window: int) -> int:
        """Return how many of the last events are in partitions other than their users' now, with no record behind."""
        last = dict[int, int]()
        for records in self._records.values():
            last |= {number: max(offset, last.get(number, offset)) for number, offset in records.items()}
        places = [last.get(number, -1) for number in sorted(ends)]
        ordered = [ends[number] for number in sorted(ends)]
        ((count,),) = self._rows(MISPLACED, self._parameters(len(ends), window, places, ordered))
        return int(count)

    def _parameters(
        self, partitions: int, window: int, records: Sequence[int], ends: Sequence[int]
    ) -> dict[str, object]:
        return {
            "partitions": partitions,
            "window": window,
            "numbers": list(range(partitions)),
            "records": records,
            "ends": list(ends),
        }

    def _rows(self, query: str, parameters: dict[str, object]) -> list[tuple[Any, ...]]:
        return self._connection.rows(query.format(suffix=self._suffix), {"topic_id": self._topic_id, **parameters})
