"""Apache Kafka as a local process."""
