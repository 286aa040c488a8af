-- Rejected messages that were put back on the topic, each claimed here before it is sent (db/replay.py).
CREATE TABLE replayed_events ON CLUSTER '{cluster_name}'
(
    kafka_topic_id UUID COMMENT 'Identity of the Kafka topic of the rejected message',
    kafka_partition UInt32 COMMENT 'Partition of the rejected message',
    kafka_offset UInt64 COMMENT 'Offset of the rejected message in its partition',
    run_id UUID COMMENT 'The run of ugc-replay that sends it',
    withdrawn Bool COMMENT 'Whether the run takes its claim back, having sent nothing: another run was at the same message',
    replayed_at DateTime64(3, 'UTC') COMMENT 'When the claim was made or taken back, by the server''s clock'
)
ENGINE = ReplicatedMergeTree('/clickhouse/tables/{shard}/{database}/replayed_events', '{replica}')
ORDER BY (kafka_topic_id, kafka_partition, kafka_offset, run_id, withdrawn)
-- A claim that a power cut could take back would be no claim.
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Rejected messages that were put back on the topic';

-- What ugc-replay reads; it writes the table of the shard that it is connected to.
CREATE TABLE replayed_events_all ON CLUSTER '{cluster_name}' AS replayed_events
ENGINE = Distributed('{cluster_name}', currentDatabase(), 'replayed_events', kafka_partition);
