-- One row per Kafka message that did not become an event, with all it held.
CREATE TABLE rejected_events
(
    reason LowCardinality(String) COMMENT 'undecodable: no valid EventRecord; duplicate: a repeated event_id; refused: ClickHouse would not take the row',
    error String COMMENT 'What exactly was wrong',
    raw String COMMENT 'The value of the Kafka message, as it was',
    kafka_time DateTime64(3, 'UTC') COMMENT 'Timestamp of the Kafka message',
    kafka_topic_id UUID COMMENT 'Identity of the Kafka topic: a recreated topic counts its offsets anew',
    kafka_partition UInt32 COMMENT 'Partition of the Kafka message',
    kafka_offset UInt64 COMMENT 'Offset of the Kafka message in its partition',
    INDEX by_partition kafka_partition TYPE minmax GRANULARITY 1,
    INDEX by_offset kafka_offset TYPE minmax GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(kafka_time)
ORDER BY (reason, kafka_time, kafka_partition, kafka_offset)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'Kafka messages that are no events';
