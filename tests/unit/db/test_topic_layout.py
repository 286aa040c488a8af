"""A topic that is there: what breaks the guarantee, what only differs, and what is as wanted."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from db.kafka.layout import Existing, TopicLayout, differences
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
    """Return the names of what differs, and whether it breaks the guarantee."""
    return {each.name: each.breaks for each in differences(Existing(partitions, replicas, GOOD | changed), WANTED)}


def test_as_wanted() -> None:
    """A topic that is as wanted is accepted, and so is one of which Kafka names no setting."""
    assert found({}) == {}
    assert list(differences(Existing(6, 3, {}), WANTED)) == []


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
def test_what_breaks_the_guarantee(changed: dict[str, str]) -> None:
    """A topic that can lose acknowledged events, or acknowledge none, is refused by the name of the setting."""
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
def test_what_only_differs(changed: dict[str, str]) -> None:
    """What keeps the guarantee within its limits is accepted and named."""
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
    """Fewer partitions or replicas than wanted are refused, more are named."""
    assert found({}, partitions, replicas) == names


def test_all_are_named_with_a_cure() -> None:
    """Every difference names both values and what to run; more partitions are only a variable to set."""
    changed = {"cleanup.policy": "compact", "retention.ms": "60000"}
    policy, retention = differences(Existing(6, 3, GOOD | changed), WANTED)
    (partitions,) = differences(Existing(9, 3, GOOD), WANTED)

    assert "cleanup.policy is compact, wanted is delete" in str(policy)
    assert policy.cure("kafka:9092", "ugc.events") == (
        "kafka-configs.sh --bootstrap-server kafka:9092 --alter --entity-type topics --entity-name ugc.events "
        "--add-config cleanup.policy=delete"
    )
    assert retention.cure("kafka:9092", "t").endswith("retention.ms=604800000; or set UGC_KAFKA_RETENTION_HOURS")
    assert partitions.cure("kafka:9092", "t") == "set UGC_KAFKA_PARTITIONS=9"
    assert "stored twice" in str(partitions)


def test_more_in_sync_than_replicas() -> None:
    """Settings with which no event could ever be acknowledged are refused at start."""
    with pytest.raises(ValidationError, match="UGC_KAFKA_REPLICATION_FACTOR is 1"):
        MigrateSettings(kafka_min_insync_replicas=2)
    MigrateSettings(kafka_replication_factor=2, kafka_min_insync_replicas=2)
