"""The stores: Kafka topics, ClickHouse tables, and local servers of both."""
