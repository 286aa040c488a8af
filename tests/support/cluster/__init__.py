"""A cluster without Docker: Kafka brokers, keepers, ClickHouse with shards and replicas, and the processes."""
