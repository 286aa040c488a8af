"""Rejected events and the claims on them: which may be put back on the topic, and who does it."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from db.clickhouse.client import ClickHouse

# On a cluster a claim counts once most replicas have it, and is looked for in what those hold.
CLUSTER_WRITE = ", insert_quorum = 'auto', insert_quorum_parallel = 0"
CLUSTER_READ = "SETTINGS select_sequential_consistency = 1"

PLACE = "kafka_topic_id, kafka_partition, kafka_offset"
CHOSEN = """
FROM rejected_events{suffix}
WHERE reason = %(reason)s
    AND kafka_time >= fromUnixTimestamp64Milli(%(since)s) AND kafka_time < fromUnixTimestamp64Milli(%(until)s)
"""
COUNT = "SELECT uniqExact({place}) {chosen}"
COUNT_OUTSIDE = """
SELECT uniqExactIf(({place}), kafka_time < fromUnixTimestamp64Milli(%(since)s)),
    uniqExactIf(({place}), kafka_time >= fromUnixTimestamp64Milli(%(until)s))
FROM rejected_events{suffix} WHERE reason = %(reason)s
"""
COUNT_CLAIMED = "SELECT uniqExact({place}) {chosen} AND ({place}) GLOBAL IN ({claims})"
CLAIMS = "SELECT {place} FROM replayed_events{suffix} GROUP BY {place}, run_id HAVING NOT max(withdrawn)"
PAGE = """
SELECT {place}, hex(raw), user_id {chosen} AND ({place}) GLOBAL NOT IN ({claims}) {after}
ORDER BY {place} LIMIT 1 BY {place} LIMIT %(count)s {read}
"""
AFTER = "AND ({place}) > %(after)s"
CLAIM = """
INSERT INTO replayed_events ({place}, run_id, withdrawn, replayed_at) SETTINGS async_insert = 0{write}
SELECT {place}, run_id, withdrawn, now64(3)
FROM input('kafka_topic_id UUID, kafka_partition UInt32, kafka_offset UInt64, run_id UUID, withdrawn Bool')
FORMAT Native
"""
OTHERS = """
SELECT {place} FROM replayed_events{suffix}
WHERE run_id != %(run_id)s AND ({place}) >= %(first)s AND ({place}) <= %(last)s
GROUP BY {place}, run_id HAVING NOT max(withdrawn)
{read}
"""


class Place(NamedTuple):
    """Where a message stood in Kafka."""

    topic_id: uuid.UUID
    partition: int
    offset: int


class Rejected(NamedTuple):
    """A rejected message, and its user where the etl could read it."""

    place: Place
    raw: bytes
    user_id: uuid.UUID | None


class Selection(NamedTuple):
    """Which rejected messages: of one reason, by Kafka's timestamp in milliseconds, `until` not included."""

    reason: str
    since: int
    until: int


class ReplayLedger:
    """The tables `rejected_events` and `replayed_events`, of one server or of all shards."""

    def __init__(self, connection: ClickHouse, *, cluster: bool) -> None:
        self._connection = connection
        self._parts: dict[str, Any] = {
            "place": PLACE,
            "suffix": "_all" if cluster else "",
            "write": CLUSTER_WRITE if cluster else "",
            "read": CLUSTER_READ if cluster else "",
        }
        self._parts |= {"chosen": self._written(CHOSEN), "claims": self._written(CLAIMS)}

    def count(self, selection: Selection) -> int:
        """Return how many messages a selection chooses, replayed or not."""
        ((found,),) = self._connection.rows(self._written(COUNT), selection._asdict())
        return int(found)

    def count_outside(self, selection: Selection) -> tuple[int, int]:
        """Return how many messages of the reason stand before the selection's time, and how many after it."""
        ((before, after),) = self._connection.rows(self._written(COUNT_OUTSIDE), selection._asdict())
        return int(before), int(after)

    def count_claimed(self, selection: Selection) -> int:
        """Return how many of them some run has claimed."""
        ((found,),) = self._connection.rows(self._written(COUNT_CLAIMED), selection._asdict())
        return int(found)

    def page(self, selection: Selection, after: Place | None, count: int) -> list[Rejected]:
        """Read the next messages of a selection that nobody has claimed, in the order of their places."""
        query = self._written(PAGE, after=self._written(AFTER) if after else "")
        parameters = selection._asdict() | {"count": count, "after": after}
        rows = self._connection.rows(query, parameters)
        return [Rejected(Place(*row[:3]), bytes.fromhex(row[3]), row[4]) for row in rows]

    def claim(self, run_id: uuid.UUID, places: Collection[Place]) -> None:
        """Write down, durably, that a run is about to send these."""
        self._connection.insert(self._written(CLAIM), [(*place, run_id, False) for place in places])

    def withdraw(self, run_id: uuid.UUID, places: Collection[Place]) -> None:
        """Take claims back whose messages were not sent and never will be by this run."""
        self._connection.insert(self._written(CLAIM), [(*place, run_id, True) for place in places])

    def contested(self, run_id: uuid.UUID, places: Sequence[Place]) -> set[Place]:
        """Find which of these, given in their order, another run claims too."""
        parameters = {"run_id": run_id, "first": places[0], "last": places[-1]}
        found = self._connection.rows(self._written(OTHERS), parameters)
        return {Place(*row) for row in found}.intersection(places)

    def _written(self, query: str, **parts: str) -> str:
        return query.format(**self._parts, **parts)
