"""The ETL's queries of one server, for what it holds itself.

On a cluster every replica of a shard is queried: a block whose quorum is pending is on one replica, and may be fetched
by the others later.
"""

from __future__ import annotations

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
IDENTITIES = """
SELECT kafka_offset, identity FROM
(
    SELECT kafka_offset, concat(UUIDToNum(event_id), UUIDToNum(user_id)) AS identity FROM events
    WHERE kafka_topic_id = %(topic)s AND kafka_partition = %(partition)s
        AND kafka_offset BETWEEN %(first)s AND %(last)s
    UNION ALL
    SELECT kafka_offset, concat(UUIDToNum(assumeNotNull(event_id)), UUIDToNum(assumeNotNull(user_id)))
    FROM rejected_events
    WHERE kafka_topic_id = %(topic)s AND kafka_partition = %(partition)s
        AND kafka_offset BETWEEN %(first)s AND %(last)s
        AND reason = 'duplicate' AND event_id IS NOT NULL AND user_id IS NOT NULL
)
ORDER BY kafka_offset
"""
# Of those, the events whose users are in one partition of so many. Kafka's clients choose the partition of a user: the
# key is the user_id as text, which is the second half of the identity, and its hash is murmur2.
MOVED_IDENTITIES = f"""
SELECT kafka_offset, identity FROM ({IDENTITIES})
WHERE kafkaMurmurHash(UUIDNumToString(toFixedString(substring(identity, 17), 16))) %% %(partitions)s = %(to)s
ORDER BY kafka_offset
"""  # noqa: S608 -- a constant
# An etl of an earlier version stores the record as an undecodable message.
PARTITION_CHANGES = """
SELECT kafka_offset, raw FROM rejected_events
WHERE kafka_topic_id = %(topic)s AND kafka_partition = %(partition)s AND kafka_offset BETWEEN %(first)s AND %(last)s
    AND reason IN ('partitions_added', 'undecodable') AND startsWith(raw, %(prefix)s)
"""
NOW = "SELECT toUnixTimestamp64Milli(now64(3))"
RUNNING = "SELECT count() FROM system.processes WHERE startsWith(query_id, %(name)s)"
# A replica for each row: its shard from 1, whether it is the queried server, and the identity of that server.
REPLICAS = "SELECT shard_num, is_local, toString(serverUUID()) FROM system.clusters WHERE cluster = %(cluster)s"


def in_both_tables(query: str) -> str:
    """Return the query over both tables, which replace `{table}`."""
    return " UNION ALL ".join(query.format(table=table) for table in (EVENTS, REJECTED))
