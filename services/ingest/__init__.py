"""The gRPC server: validates events and writes them to Kafka."""
