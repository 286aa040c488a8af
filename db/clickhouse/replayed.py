"""Reads rejected events and records which run of `ugc-replay` has claimed them."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from common.partition_change import PREFIX
from db.clickhouse.claiming import QUORUM_SECONDS_MAX, Claims
from db.clickhouse.client import ClickHouse

MILLISECONDS = 1_000
# On a cluster a claim is written to a majority of the replicas and read with sequential consistency, which knows no
# parallel quorums. The table has inserts of ugc-replay only, so that those of the etl neither wait for them nor fail.
CLUSTER_WRITE = (
    f", insert_quorum = 'auto', insert_quorum_parallel = 0, insert_quorum_timeout = {QUORUM_SECONDS_MAX * MILLISECONDS}"
)
CLUSTER_READ = "SETTINGS select_sequential_consistency = 1"

POSITION = "kafka_topic_id, kafka_partition, kafka_offset"
CHOSEN = """
FROM rejected_events{suffix}
WHERE reason = %(reason)s
    AND kafka_time >= fromUnixTimestamp64Milli(%(since)s) AND kafka_time < fromUnixTimestamp64Milli(%(until)s)
    AND NOT startsWith(raw, {record})
"""
COUNT = "SELECT uniqExact({position}) {chosen}"
COUNT_OUTSIDE = """
SELECT uniqExactIf(({position}), kafka_time < fromUnixTimestamp64Milli(%(since)s)),
    uniqExactIf(({position}), kafka_time >= fromUnixTimestamp64Milli(%(until)s))
FROM rejected_events{suffix} WHERE reason = %(reason)s
"""
COUNT_CLAIMED = "SELECT uniqExact({position}) {chosen} AND ({position}) GLOBAL IN ({claims})"
CLAIMS = "SELECT {position} FROM replayed_events{suffix} GROUP BY {position}, run_id HAVING NOT max(withdrawn)"
PAGE = """
SELECT {position}, hex(raw), user_id {chosen} AND ({position}) GLOBAL NOT IN ({claims}) {after}
ORDER BY {position} LIMIT 1 BY {position} LIMIT %(count)s {read}
"""
AFTER = "AND ({position}) > %(after)s"
CLAIM = """
INSERT INTO replayed_events ({position}, run_id, withdrawn, replayed_at) SETTINGS async_insert = 0{write}
SELECT {position}, run_id, withdrawn, now64(3)
FROM input('kafka_topic_id UUID, kafka_partition UInt32, kafka_offset UInt64, run_id UUID, withdrawn Bool')
FORMAT Native
"""
OTHERS = """
SELECT {position} FROM replayed_events{suffix}
WHERE run_id != %(run_id)s AND ({position}) >= %(first)s AND ({position}) <= %(last)s
GROUP BY {position}, run_id HAVING NOT max(withdrawn)
{read}
"""


class Position(NamedTuple):
    """The position of a message in Kafka."""

    topic_id: uuid.UUID
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"topic {self.topic_id} partition {self.partition} offset {self.offset}"


class Rejected(NamedTuple):
    """A rejected message, and its user if the etl could decode it."""

    position: Position
    raw: bytes
    user_id: uuid.UUID | None


class Selection(NamedTuple):
    """The rejected messages of one reason with a Kafka timestamp, in milliseconds, from `since` to before `until`."""

    reason: str
    since: int
    until: int


class ReplayLedger:
    """Queries the tables `rejected_events` and `replayed_events` of one server, or of all shards of a cluster."""

    def __init__(self, connection: ClickHouse, *, cluster: bool, servers: Sequence[ClickHouse] = ()) -> None:
        """`servers`: where claims may be written on a cluster; the connection's if there are none."""
        self._connection = connection
        self._claims: Claims | ClickHouse = Claims(servers) if servers else connection
        self._parts: dict[str, Any] = {
            "position": POSITION,
            "suffix": "_all" if cluster else "",
            "write": CLUSTER_WRITE if cluster else "",
            "read": CLUSTER_READ if cluster else "",
            # An etl of an earlier version stores the record of added partitions as undecodable; it names offsets of the
            # past, so it must not come again.
            "record": f"unhex('{PREFIX.hex()}')",
        }
        self._parts |= {"chosen": self._query(CHOSEN), "claims": self._query(CLAIMS)}

    def count(self, selection: Selection) -> int:
        """Return how many messages a selection has, including those that were replayed."""
        ((found,),) = self._connection.rows(self._query(COUNT), selection._asdict())
        return int(found)

    def count_outside(self, selection: Selection) -> tuple[int, int]:
        """Return how many messages of the reason are earlier than the selection, and how many are later."""
        ((before, after),) = self._connection.rows(self._query(COUNT_OUTSIDE), selection._asdict())
        return int(before), int(after)

    def count_claimed(self, selection: Selection) -> int:
        """Return how many messages of a selection any run has claimed."""
        ((found,),) = self._connection.rows(self._query(COUNT_CLAIMED), selection._asdict())
        return int(found)

    def page(self, selection: Selection, after: Position | None, count: int) -> list[Rejected]:
        """Return the next messages of a selection that no run has claimed, ordered by position."""
        query = self._query(PAGE, after=self._query(AFTER) if after else "")
        parameters = selection._asdict() | {"count": count, "after": after}
        rows = self._connection.rows(query, parameters)
        return [Rejected(Position(*row[:3]), bytes.fromhex(row[3]), row[4]) for row in rows]

    def claim(self, run_id: uuid.UUID, positions: Collection[Position]) -> None:
        """Record durably that a run is about to send these messages."""
        self._claims.insert(self._query(CLAIM), [(*position, run_id, False) for position in positions])

    def withdraw(self, run_id: uuid.UUID, positions: Collection[Position]) -> None:
        """Withdraw claims on messages that this run has not sent and will not send."""
        self._claims.insert(self._query(CLAIM), [(*position, run_id, True) for position in positions])

    def contested(self, run_id: uuid.UUID, positions: Sequence[Position]) -> set[Position]:
        """Return which of these messages, given in order, another run has claimed as well."""
        parameters = {"run_id": run_id, "first": positions[0], "last": positions[-1]}
        found = self._connection.rows(self._query(OTHERS), parameters)
        return {Position(*row) for row in found}.intersection(positions)

    def _query(self, template: str, **parts: str) -> str:
        return template.format(**self._parts, **parts)
