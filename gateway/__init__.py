"""The HTTP server: serves gRPC services as JSON over REST, from their descriptors alone."""
