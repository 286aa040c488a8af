"""Events: their encoding, validation and identity, and the records that Kafka stores."""
