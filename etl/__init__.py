"""The consumer that turns Kafka messages into ClickHouse rows."""
