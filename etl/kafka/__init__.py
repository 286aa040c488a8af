"""The consumer: messages, and the commits of their offsets."""
