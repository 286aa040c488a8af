"""The ETL's queries, and which rows they see on a cluster: those of all replicas, or those that a quorum has confirmed.

A read with `select_sequential_consistency` omits a block whose quorum is pending: one replica stores it, and it becomes
visible when the others have fetched it. Which rows are stored already is therefore read from every replica of every
shard. Which rows are confirmed is read from one replica of each shard, with that setting.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from etl.plan import EVENTS, REJECTED

OFFSETS = """
SELECT kafka_offset FROM {table}
WHERE kafka_topic_id = %(topic)s AND kafka_partition = %(partition)s AND kafka_offset BETWEEN %(first)s AND %(last)s
"""
LAST_OFFSET = """
SELECT max(toInt64(kafka_offset)), count() FROM {table}
WHERE kafka_topic_id = %(topic)s AND kafka_partition = %(partition)s AND kafka_offset >= %(first)s
"""
# The ids of a rejected message are read from its columns and not from its bytes, because two parsers may disagree.
# DISTINCT, because on a cluster each replica returns its copy of a row.
IDENTITIES = """
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
class ReadScope:
    """The tables that a query reads for `events` and `rejected_events`, and the settings that it needs."""

    events: str
    rejected: str
    settings: Mapping[str, object]

    def in_both_tables(self, query: str) -> str:
        """Return the query over both tables, which replace `{table}`."""
        return " UNION ALL ".join(query.format(table=table) for table in (self.events, self.rejected))


# If inserts have no quorum, a sequentially consistent read would omit rows inserted after the last quorum insert.
QUORUM = "SELECT value FROM system.settings WHERE name = 'insert_quorum'"
NO_QUORUM = {"0", "1"}
# A replica that does not answer is an error, because its rows would be regarded as missing.
EVERY_REPLICA_ANSWERS = {"skip_unavailable_shards": 0}


def all_replicas(cluster: str, database: str) -> ReadScope:
    """Return the scope of the rows on any server; a row on several replicas is returned several times."""
    if not cluster:
        return ReadScope(EVENTS, REJECTED, {})
    events, rejected = (f"clusterAllReplicas('{cluster}', {database}.{table})" for table in (EVENTS, REJECTED))
    return ReadScope(events, rejected, {**EVERY_REPLICA_ANSWERS, "select_sequential_consistency": 0})


def confirmed_only(cluster: str) -> ReadScope:
    """Return the scope of the rows that a quorum has confirmed, on any shard."""
    if not cluster:
        return ReadScope(EVENTS, REJECTED, {})
    settings = {**EVERY_REPLICA_ANSWERS, "select_sequential_consistency": 1}
    return ReadScope(f"{EVENTS}_all", f"{REJECTED}_all", settings)
