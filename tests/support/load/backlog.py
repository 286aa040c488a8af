"""Fills a topic for benchmarks with realistic EventRecords of about 196 bytes each."""

from __future__ import annotations

import os
import random
import time
import uuid
from collections.abc import Iterator

from confluent_kafka import KafkaError, Message, Producer
from ugc.v1.event_pb2 import Event, EventRecord, Payload

USERS, MOVIES = 100_000, 10_000
KINDS = ["watch-progress"] * 6 + ["pause", "play", "like", "comment"]
LANGUAGES = ["RU", "RU", "RU", "EN", "KK", "DE"]
TIMEZONES = ["Europe/Moscow", "Europe/Moscow", "Asia/Yekaterinburg", "Asia/Almaty", "Europe/Berlin", "Asia/Tokyo"]
VERSIONS = ["5.12.3", "5.12.4", "6.0.0", "6.0.1"]
FLUSH_SECONDS_MAX = 300.0
QUEUE_SECONDS_MAX = 1.0


def records(count: int, seed: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield key and value of each message, in the order of the events' received_at."""
    chance = random.Random(seed)
    users = [str(uuid.UUID(int=chance.getrandbits(128), version=4)) for _ in range(USERS)]
    movies = [str(uuid.UUID(int=chance.getrandbits(128), version=4)) for _ in range(MOVIES)]
    now = time.time_ns() // 1_000_000
    for number in range(count):
        received_at = now + number // 10
        user = chance.choice(users)
        payload = Payload(
            movie_id=chance.choice(movies),
            user_id=user,
            event=chance.choice(KINDS),
            event_data=f'{{"at":{chance.randrange(7_200)}}}',
            event_timestamp=received_at // 1000 - chance.randrange(30),
        )
        event = Event(
            payload=payload,
            language=chance.choice(LANGUAGES),
            timezone=chance.choice(TIMEZONES),
            ip=f"{chance.randrange(1, 224)}.{chance.randrange(256)}.{chance.randrange(256)}.{chance.randrange(256)}",
            version=chance.choice(VERSIONS),
            some_client_data=f"web-player-{chance.getrandbits(24):06x}",
        )
        # As in ingest's UUIDv7: milliseconds, then random bits.
        identity = received_at.to_bytes(6, "big") + os.urandom(10)
        yield user.encode(), EventRecord(event=event, event_id=identity, received_at=received_at).SerializeToString()


def fill(bootstrap_servers: str, topic: str, count: int, seed: int) -> float:
    """Write `count` events to the topic; return their mean size in bytes."""
    producer = Producer(
        {
            "bootstrap.servers": bootstrap_servers,
            "acks": "all",
            "linger.ms": 100,
            "compression.type": "lz4",
            "partitioner": "murmur2_random",
        }
    )
    total, failures = 0, list[KafkaError]()

    def on_delivery(error: KafkaError | None, _message: Message) -> None:
        if error:
            failures.append(error)

    for key, value in records(count, seed):
        total += len(value)
        while True:
            try:
                producer.produce(topic, value, key, on_delivery=on_delivery)
                break
            except BufferError:
                producer.poll(QUEUE_SECONDS_MAX)
    assert producer.flush(FLUSH_SECONDS_MAX) == 0
    assert not failures, failures[0]
    return total / count
