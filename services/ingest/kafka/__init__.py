"""The producer: records to Kafka, and what its errors mean for a client."""
