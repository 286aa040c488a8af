-- What the ETL reads back of a repeat when it opens a partition: 32 bytes instead of the whole message.
ALTER TABLE rejected_events
    ADD COLUMN IF NOT EXISTS event_id Nullable(UUID) COMMENT 'Identity of the event; NULL where the message does not hold a valid one, and in rows older than this column',
    ADD COLUMN IF NOT EXISTS user_id Nullable(UUID) COMMENT 'The viewer who acted; NULL likewise',
    COMMENT COLUMN reason 'undecodable: not a valid EventRecord; duplicate: an event_id repeated by the same user; refused: ClickHouse would not take the row';
