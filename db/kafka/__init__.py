"""Kafka: topics, configuration, a local broker."""
