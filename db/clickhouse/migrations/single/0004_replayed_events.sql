-- Rejected messages that were put back on the topic, each claimed here before it is sent (db/replay.py).
CREATE TABLE replayed_events
(
    kafka_topic_id UUID COMMENT 'Identity of the Kafka topic of the rejected message',
    kafka_partition UInt32 COMMENT 'Partition of the rejected message',
    kafka_offset UInt64 COMMENT 'Offset of the rejected message in its partition',
    run_id UUID COMMENT 'The run of ugc-replay that sends it',
    withdrawn Bool COMMENT 'Whether the run takes its claim back, having sent nothing: another run was at the same message',
    replayed_at DateTime64(3, 'UTC') COMMENT 'When the claim was made or taken back, by the server''s clock'
)
ENGINE = MergeTree
ORDER BY (kafka_topic_id, kafka_partition, kafka_offset, run_id, withdrawn)
-- A claim that a power cut could take back would be no claim.
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Rejected messages that were put back on the topic';
