"""The replicas of the service behind the gateway: where they are, which of them serve, and which gets the next call."""
