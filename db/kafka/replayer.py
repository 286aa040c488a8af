"""Sends messages to the topic and returns which of them Kafka has acknowledged."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from functools import partial

from confluent_kafka import KafkaError, KafkaException, Producer

from db.kafka.connection import Connection, Kafka

DELIVERY_SECONDS_MAX = 30
# The client's own timeout is the first limit; this one is for a client that does not keep it.
FLUSH_SECONDS_MAX = 2 * DELIVERY_SECONDS_MAX


class Replayer:
    """A producer that counts a message as sent once all in-sync replicas have it."""

    def __init__(self, kafka: Kafka, topic: str) -> None:
        self._topic = topic
        self._producer = Producer(
            Connection(kafka).properties(
                {
                    "client.id": "ugc-replay",
                    "acks": "all",
                    "enable.idempotence": True,
                    "message.timeout.ms": DELIVERY_SECONDS_MAX * 1000,
                    "compression.type": "lz4",
                    # The same as ingest's, so that the events of a user stay in one partition.
                    "partitioner": "murmur2_random",
                }
            )
        )

    def send(self, messages: Sequence[tuple[bytes | None, bytes]]) -> dict[int, str]:
        """Send messages, each a key and a value; return the errors of those that were not acknowledged, by index."""
        errors = dict.fromkeys(range(len(messages)), f"Kafka did not acknowledge it within {FLUSH_SECONDS_MAX} s")

        def on_delivery(error: KafkaError | None, _message: object, index: int) -> None:
            if error is None:
                del errors[index]
            else:
                errors[index] = error.str()

        for index, (key, value) in enumerate(messages):
            try:
                self._producer.produce(self._topic, value, key, on_delivery=partial(on_delivery, index=index))
            except (BufferError, KafkaException) as error:
                errors[index] = str(error)
        try:
            self._producer.flush(FLUSH_SECONDS_MAX)
        except KafkaException as error:
            # How the client reports that it has failed for good.
            errors.update(dict.fromkeys(errors, error.args[0].str()))
        return errors

    def close(self) -> None:
        """Discard the messages that were not sent."""
        self._producer.purge()
        self._producer.flush(0)


@contextlib.contextmanager
def replaying(kafka: Kafka, topic: str) -> Iterator[Replayer]:
    """Yield a producer; it connects with its first message."""
    replayer = Replayer(kafka, topic)
    try:
        yield replayer
    finally:
        replayer.close()
