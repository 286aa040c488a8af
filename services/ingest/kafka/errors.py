"""Delivery failures: why Kafka has not acknowledged a record, and what would help.

An error that is not listed counts as transient: a needless retry costs little, but a client that gives up loses an
event. Listed are the errors with which a broker rejects a record whenever it is sent.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from confluent_kafka import KafkaError, KafkaException


class Remedy(Enum):
    """What would help."""

    RETRY = "retry"
    REDUCE_SIZE = "reduce the size of the event"
    FIX_SERVER = "an operator must change something"


class DeliveryFailure(NamedTuple):
    """The failure of a record that was not acknowledged."""

    reason: str
    remedy: Remedy = Remedy.RETRY


TOO_LARGE = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE, KafkaError.INVALID_MSG_SIZE})
REJECTED = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.UNSUPPORTED_SASL_MECHANISM,
        KafkaError.ILLEGAL_SASL_STATE,
        KafkaError.SECURITY_DISABLED,
        KafkaError.TOPIC_EXCEPTION,
        KafkaError.INVALID_REQUIRED_ACKS,
        KafkaError.INVALID_TIMESTAMP,
        KafkaError.INVALID_CONFIG,
        KafkaError.INVALID_RECORD,
        KafkaError.INVALID_REQUEST,
        KafkaError.POLICY_VIOLATION,
        KafkaError.UNSUPPORTED_VERSION,
        KafkaError.UNSUPPORTED_FOR_MESSAGE_FORMAT,
        KafkaError.UNSUPPORTED_COMPRESSION_TYPE,
    }
)


def describe(error: KafkaError) -> str:
    """Return the text of an error's code, such as `Kafka: Local: Message timed out`.

    The error's own text may contain the names and addresses of brokers, which clients must not see.
    """
    return f"Kafka: {KafkaError(error.code()).str()}"


def delivery_failure(error: KafkaError, size: int, batch_bytes_max: int) -> DeliveryFailure:
    """Return the failure of a record of `size` bytes, which was sent in batches of at most `batch_bytes_max` bytes.

    A larger record was sent as a batch of its own; a smaller one was rejected for the size of its batch, which a retry
    makes smaller.
    """
    if error.code() in TOO_LARGE:
        if size <= batch_bytes_max:
            return DeliveryFailure(describe(error))
        return DeliveryFailure("is larger than the Kafka topic takes (max.message.bytes)", Remedy.REDUCE_SIZE)
    return DeliveryFailure(describe(error), Remedy.FIX_SERVER if error.code() in REJECTED else Remedy.RETRY)


def rejection_of(error: BufferError | KafkaException) -> str:
    """Return why the producer rejects a record."""
    if isinstance(error, BufferError):
        return "the queue to Kafka is full"
    # The producer has failed fatally, and is replaced.
    return describe(error.args[0])
