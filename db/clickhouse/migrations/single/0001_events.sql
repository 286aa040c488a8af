-- One row per accepted event. No column has a DEFAULT: a repeated insert must be byte for byte the same.
CREATE TABLE events
(
    event_id UUID COMMENT 'Identity of the event: the client''s idempotency key, or a UUIDv7 made by ingest',
    event LowCardinality(String) COMMENT 'Kind of event, such as like or watch-progress',
    movie_id UUID COMMENT 'The movie that the event is about',
    user_id UUID COMMENT 'The viewer who acted',
    event_data String COMMENT 'Details in a form of the client''s choice',
    event_time DateTime64(3, 'UTC') COMMENT 'When it happened, by the viewer''s clock',
    language LowCardinality(String) COMMENT 'Language of the viewer''s interface',
    timezone LowCardinality(String) COMMENT 'Time zone of the viewer, an IANA name',
    ip String COMMENT 'Network address of the viewer',
    version LowCardinality(String) COMMENT 'Version of the client program',
    client_data String COMMENT 'Free text of the client, some_client_data in the contract',
    received_at DateTime64(3, 'UTC') COMMENT 'When ingest received it, by the server''s clock',
    kafka_topic_id UUID COMMENT 'Identity of the Kafka topic: a recreated topic counts its offsets anew',
    kafka_partition UInt32 COMMENT 'Partition of the Kafka message',
    kafka_offset UInt64 COMMENT 'Offset of the Kafka message in its partition',
    INDEX by_partition kafka_partition TYPE minmax GRANULARITY 1,
    INDEX by_offset kafka_offset TYPE minmax GRANULARITY 1
)
ENGINE = MergeTree
-- By the server's clock: a viewer's wrong clock must not open a hundred partitions.
PARTITION BY toYYYYMM(received_at)
ORDER BY (event, event_time, user_id, event_id)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'What viewers did, one row per event';
