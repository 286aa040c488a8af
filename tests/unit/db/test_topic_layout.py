"""An existing topic: differences that break the delivery guarantee, and other differences."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from db.kafka.layout import ExistingTopic, TopicLayout, differences
from db.settings import MigrateSettings

WANTED = TopicLayout(partitions=6, replication_factor=3, min_insync_replicas=2, retention_hours=168)
GOOD = {
    **WANTED.configuration(),
    "unclean.leader.election.enable": "false",
    "retention.bytes": "-1",
    "max.message.bytes": "1048588",
    "segment.bytes": "1073741824",
}


def found(changed: dict[str, str], partitions: int = 6, replicas: int = 3) -> dict[str, bool]:
    """Return the names of the differences, and whether each breaks the guarantee."""
    return {each.name: each.breaks for each in differences(ExistingTopic(partitions, replicas, GOOD | changed), WANTED)}


def test_no_difference() -> None:
    """A topic as configured has no difference, nor has one whose settings Kafka does not return."""
    assert found({}) == {}
    assert list(differences(ExistingTopic(6, 3, {}), WANTED)) == []


@pytest.mark.parametrize(
    "changed",
    [
        {"cleanup.policy": "compact"},
        {"cleanup.policy": "compact,delete"},
        {"cleanup.policy": "delete,compact"},
        {"min.insync.replicas": "1"},
        {"min.insync.replicas": "4"},
        {"unclean.leader.election.enable": "true"},
    ],
    ids=str,
)
def test_breaking_settings(changed: dict[str, str]) -> None:
    """Settings by which acknowledged events can be lost, or none can be acknowledged, break the guarantee."""
    assert found(changed) == dict.fromkeys(changed, True)


@pytest.mark.parametrize(
    "changed",
    [
        {"retention.ms": "60000"},
        {"retention.ms": "-1"},
        {"retention.bytes": "1000000"},
        {"min.insync.replicas": "3"},
        {"max.message.bytes": "20000"},
        {"cleanup.policy": ""},
    ],
    ids=str,
)
def test_other_settings(changed: dict[str, str]) -> None:
    """Other settings that differ are reported and do not break the guarantee."""
    assert found(changed) == dict.fromkeys(changed, False)


@pytest.mark.parametrize(
    ("partitions", "replicas", "names"),
    [
        (5, 3, {"partitions": True}),
        (9, 3, {"partitions": False}),
        (6, 2, {"replication factor": True}),
        (6, 4, {"replication factor": False}),
    ],
)
def test_layout(partitions: int, replicas: int, names: dict[str, bool]) -> None:
    """Fewer partitions or replicas than configured break the guarantee, more are reported."""
    assert found({}, partitions, replicas) == names


def test_remedies() -> None:
    """Each difference has both values and the command to run; for more partitions it is a variable to set."""
    changed = {"cleanup.policy": "compact", "retention.ms": "60000"}
    policy, retention = differences(ExistingTopic(6, 3, GOOD | changed), WANTED)
    (partitions,) = differences(ExistingTopic(9, 3, GOOD), WANTED)

    assert "cleanup.policy is compact, should be delete" in str(policy)
    assert policy.remedy("kafka:9092", "ugc.events") == (
        "kafka-configs.sh --bootstrap-server kafka:9092 --alter --entity-type topics --entity-name ugc.events "
        "--add-config cleanup.policy=delete"
    )
    assert retention.remedy("kafka:9092", "t").endswith("retention.ms=604800000; or set UGC_KAFKA_RETENTION_HOURS")
    assert partitions.remedy("kafka:9092", "t") == "set UGC_KAFKA_PARTITIONS=9"
    assert "stored twice" in str(partitions)


def test_more_in_sync_than_replicas() -> None:
    """`ugc-migrate` refuses settings with which no event could be acknowledged."""
    with pytest.raises(ValidationError, match="UGC_KAFKA_REPLICATION_FACTOR is 1"):
        MigrateSettings(kafka_min_insync_replicas=2)
    MigrateSettings(kafka_replication_factor=2, kafka_min_insync_replicas=2)
