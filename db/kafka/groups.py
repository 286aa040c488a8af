"""The consumer group of the etl: its members, and its committed offsets, which change only while it has no member."""

from __future__ import annotations

from collections.abc import Mapping

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, KafkaException, TopicPartition

from db.errors import ConflictError
from db.kafka.connection import Administrator, Kafka, admin
from db.kafka.topics import REQUEST_SECONDS_MAX

# What the broker answers to a commit of somebody who is not a member while the group has members.
HAS_MEMBERS = (
    KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError.NON_EMPTY_GROUP,
    KafkaError.ILLEGAL_GENERATION,
    KafkaError.REBALANCE_IN_PROGRESS,
)


class GroupInUseError(ConflictError):
    """The group has members, so that its offsets cannot be set."""


def members(kafka: Kafka, group: str) -> list[str]:
    """Return the members of a group, as client id and host; none if the group does not exist."""
    # Keep a reference to the client: when it is garbage collected, its requests are cancelled.
    client = admin(kafka)
    asked = client.describe_consumer_groups([group], request_timeout=REQUEST_SECONDS_MAX)
    try:
        found = asked[group].result(2 * REQUEST_SECONDS_MAX)
    except KafkaException as error:
        if error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
            return []
        # Whoever may read, which setting offsets needs, may describe too.
        raise client.failed(f"did not describe the group {group}", error, "READ", f"group {group}") from error
    except TimeoutError as error:
        raise client.failed(f"did not describe the group {group}", error) from error
    return sorted(f"{each.client_id} at {each.host}" for each in found.members)


def set_offsets(kafka: Kafka, group: str, topic: str, offsets: Mapping[int, int]) -> None:
    """Commit the offsets of partitions, all or none; GroupInUseError if the group has a member at that moment.

    The broker itself refuses the commit then, so an etl that starts meanwhile either reads these offsets or prevents
    them. The metadata is empty: the etl then does not rely on a plan, and asks ClickHouse what it holds.
    """
    client = admin(kafka)
    wanted = [TopicPartition(topic, partition, offset, "") for partition, offset in sorted(offsets.items())]
    asked = client.alter_consumer_group_offsets(
        [ConsumerGroupTopicPartitions(group, wanted)], request_timeout=REQUEST_SECONDS_MAX
    )
    try:
        answer = asked[group].result(2 * REQUEST_SECONDS_MAX)
    except KafkaException as error:
        raise refusal(client, group, topic, error) from error
    except TimeoutError as error:
        raise client.failed(f"did not answer whether it set the offsets of {group}", error) from error
    for each in answer.topic_partitions:
        if each.error is not None:
            raise refusal(client, group, topic, KafkaException(each.error))


def refusal(client: Administrator, group: str, topic: str, error: KafkaException) -> Exception:
    """Return the error of offsets that were not set."""
    if error.args[0].code() in HAS_MEMBERS:
        return GroupInUseError(f"the group {group} has got a member meanwhile, so no offset was set: stop every etl")
    # The broker denies either the topic or the group.
    on = f"topic {topic}" if "TOPIC" in error.args[0].name() else f"group {group}"
    return client.failed(f"did not set the offsets of the group {group}", error, "READ", on)
