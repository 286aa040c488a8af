"""The HTTP door: translates JSON REST into gRPC by the descriptors alone."""
