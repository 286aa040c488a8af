"""Administration of Kafka and ClickHouse: the topic, the tables, and the commands that migrate, audit and replay."""
