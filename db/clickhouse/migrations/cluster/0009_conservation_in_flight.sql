-- The conservation law, without what is being inserted: rejected rows of a batch are stored before its events, so only
-- up to a partition's largest offset in `events` everything must be there; `ugc-audit` judges what comes after it.
-- That offset must have been read before the rejected rows are. On one server a table is read as it is when the query
-- names it, and `events` comes first; on a cluster the scalar is computed before the shards are asked. The smaller holds.
CREATE OR REPLACE VIEW conservation ON CLUSTER '{cluster_name}'
COMMENT 'By partition: missing (up to the last event) and repeated are 0 when every consumed message is exactly one row'
AS WITH
(
    SELECT groupArray((kafka_topic_id, kafka_partition, after_last))
    FROM
    (
        SELECT kafka_topic_id, kafka_partition, max(kafka_offset) + 1 AS after_last
        FROM events_all
        GROUP BY kafka_topic_id, kafka_partition
    )
) AS seen_before,
least(
    maxIf(kafka_offset + 1, is_event),
    arrayFirst(each -> (each.1, each.2) = (kafka_topic_id, kafka_partition), seen_before).3
) AS after_settled,
groupBitmapState(kafka_offset) AS offsets,
-- Of few members bitmapSubsetInRange compares 32 bits only.
if(bitmapCardinality(offsets) > 1000, bitmapCardinality(bitmapSubsetInRange(offsets, 0, after_settled)),
    arrayCount(each -> each < after_settled, bitmapToArray(offsets))) AS settled
SELECT
    kafka_topic_id,
    kafka_partition,
    min(kafka_offset) AS first_offset,
    max(kafka_offset) AS last_offset,
    count() AS rows,
    if(after_settled = 0, 0, after_settled - first_offset - settled) AS missing,
    rows - bitmapCardinality(offsets) AS repeated
FROM
(
    SELECT kafka_topic_id, kafka_partition, kafka_offset, true AS is_event FROM events_all
    UNION ALL
    SELECT kafka_topic_id, kafka_partition, kafka_offset, false AS is_event FROM rejected_events_all
)
GROUP BY kafka_topic_id, kafka_partition
ORDER BY kafka_topic_id, kafka_partition;
