-- Rows are on the shard of the etl that loaded them, so no sharding key is true of them. With a key of columns, and
-- with rand() alike, optimize_skip_unused_shards leaves shards out or counts a group once a shard. Nor can anybody
-- insert through a table without one: what the ETL has not stored would be in no partition of Kafka's.
CREATE OR REPLACE TABLE events_all ON CLUSTER '{cluster_name}' AS events
ENGINE = Distributed('{cluster_name}', currentDatabase(), 'events');

CREATE OR REPLACE TABLE rejected_events_all ON CLUSTER '{cluster_name}' AS rejected_events
ENGINE = Distributed('{cluster_name}', currentDatabase(), 'rejected_events');

CREATE OR REPLACE TABLE replayed_events_all ON CLUSTER '{cluster_name}' AS replayed_events
ENGINE = Distributed('{cluster_name}', currentDatabase(), 'replayed_events');
