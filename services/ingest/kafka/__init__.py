"""Kafka: the producer, the delivery reports, and what Kafka's errors mean for a client."""
