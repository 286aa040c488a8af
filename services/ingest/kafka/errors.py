"""What Kafka's errors mean for whoever sent a record: whether it would help to send it again.

An error that is not listed is taken for a passing one: a client that sends again in vain loses nothing, one that gives
up may lose an event. Listed are the errors by which a broker refuses what it was sent, whoever asks and when.
"""

from __future__ import annotations

from confluent_kafka import KafkaError

from services.ingest.kafka.undelivered import Remedy, Undelivered

TOO_LARGE = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE, KafkaError.INVALID_MSG_SIZE})
REFUSED = frozenset(
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
    """Return what Kafka's client reports, for a log or a client: `Kafka: Local: Message timed out`.

    It is the text of the error's code: the error's own may name brokers and addresses.
    """
    return f"Kafka: {KafkaError(error.code()).str()}"


def undelivered(error: KafkaError, size: int, batch_bytes_max: int) -> Undelivered:
    """Return why a record of `size` bytes failed, which was sent in batches of at most `batch_bytes_max` bytes.

    A record that is larger than that was a batch of its own; a smaller one was refused for the size of its batch.
    """
    if error.code() in TOO_LARGE:
        if size <= batch_bytes_max:
            return Undelivered(describe(error))
        return Undelivered("is larger than the Kafka topic takes (max.message.bytes)", Remedy.MAKE_SMALLER)
    return Undelivered(describe(error), Remedy.MEND_THE_SERVER if error.code() in REFUSED else Remedy.SEND_AGAIN)
