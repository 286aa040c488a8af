"""Kafka: the topic, its layout and offsets, and the producer of replays."""
