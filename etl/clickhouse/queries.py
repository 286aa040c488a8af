"""Which rows the ETL's queries see on a cluster: those of every replica, or only those that their quorum has confirmed.

A read with `select_sequential_consistency` leaves out a block whose quorum is pending: it is stored on one replica and
becomes visible when the others have fetched it. Whether rows may be inserted is therefore asked of every replica of
every shard; whether they are safe is asked of one replica of each shard, with that setting.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from etl.block import EVENTS, REJECTED

HELD = """
SELECT kafka_offset FROM {table}
WHERE kafka_topic_id = %(topic)s AND kafka_partition = %(partition)s AND kafka_offset BETWEEN %(first)s AND %(last)s
"""
LAST = """
SELECT max(toInt64(kafka_offset)), count() FROM {table}
WHERE kafka_topic_id = %(topic)s AND kafka_partition = %(partition)s AND kafka_offset >= %(first)s
"""
# Of a message that is rejected only what its columns hold is read: two parsers may disagree about its bytes.
# Distinct, because on a cluster each replica returns its copy of a row.
RECENT = """
SELECT DISTINCT kafka_offset, identity FROM
(
    SELECT kafka_offset, concat(UUIDToNum(event_id), UUIDToNum(user_id)) AS identity FROM {events}
    WHERE kafka_topic_id = %(topic)s AND kafka_partition = %(partition)s
        AND kafka_offset BETWEEN %(first)s AND %(last)s
    UNION ALL
    SELECT kafka_offset, concat(UUIDToNum(assumeNotNull(event_id)), UUIDToNum(assumeNotNull(user_id))) FROM {rejected}
    WHERE kafka_topic_id = %(topic)s AND kafka_partition = %(partition)s
        AND kafka_offset BETWEEN %(first)s AND %(last)s
        AND reason = 'duplicate' AND event_id IS NOT NULL AND user_id IS NOT NULL
)
ORDER BY kafka_offset
"""


@dataclass(frozen=True)
class Read:
    """The tables that a query names in place of `events` and `rejected_events`, and the settings that it needs."""

    events: str
    rejected: str
    settings: Mapping[str, Any]

    def of_both(self, query: str) -> str:
        """Return the query over both tables, which stand in it as `{table}`."""
        return " UNION ALL ".join(query.format(table=table) for table in (self.events, self.rejected))


# Without a quorum a confirmed read would leave out what was inserted after the last insert that had one.
QUORUM = "SELECT value FROM system.settings WHERE name = 'insert_quorum'"
NO_QUORUM = {"0", "1"}
# A replica that does not answer is an error: its rows would be taken for missing.
EVERY_REPLICA_ANSWERS = {"skip_unavailable_shards": 0}


def of_every_replica(cluster: str, database: str) -> Read:
    """Return the read that sees what any server has stored; a row that several replicas hold comes several times."""
    if not cluster:
        return Read(EVENTS, REJECTED, {})
    events, rejected = (f"clusterAllReplicas('{cluster}', {database}.{table})" for table in (EVENTS, REJECTED))
    return Read(events, rejected, {**EVERY_REPLICA_ANSWERS, "select_sequential_consistency": 0})


def of_confirmed(cluster: str) -> Read:
    """Return the read that sees what has reached its quorum, on whichever shard."""
    if not cluster:
        return Read(EVENTS, REJECTED, {})
    settings = {**EVERY_REPLICA_ANSWERS, "select_sequential_consistency": 1}
    return Read(f"{EVENTS}_all", f"{REJECTED}_all", settings)
