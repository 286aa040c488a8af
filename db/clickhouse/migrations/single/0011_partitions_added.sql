-- A reason of its own for the record that ugc-add-partitions writes into every partition.
ALTER TABLE rejected_events COMMENT COLUMN reason 'undecodable: not a valid EventRecord; duplicate: an event_id repeated by the same user; refused: ClickHouse would not take the row; partitions_added: the record that partitions were added to the topic';
