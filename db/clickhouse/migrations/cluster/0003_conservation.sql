-- The conservation law: of every partition of a topic, the offsets of both tables are the consumed range, each once.
CREATE VIEW conservation ON CLUSTER '{cluster_name}'
COMMENT 'By partition: missing and repeated are 0 when every consumed message is exactly one row'
AS SELECT
    kafka_topic_id,
    kafka_partition,
    min(kafka_offset) AS first_offset,
    max(kafka_offset) AS last_offset,
    count() AS rows,
    last_offset - first_offset + 1 - uniqExact(kafka_offset) AS missing,
    rows - uniqExact(kafka_offset) AS repeated
FROM
(
    SELECT kafka_topic_id, kafka_partition, kafka_offset FROM events_all
    UNION ALL
    SELECT kafka_topic_id, kafka_partition, kafka_offset FROM rejected_events_all
)
GROUP BY kafka_topic_id, kafka_partition
ORDER BY kafka_topic_id, kafka_partition;
