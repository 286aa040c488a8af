"""Events: wire bytes, validation, identity, and the records that Kafka stores."""
