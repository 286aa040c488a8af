"""Compares an existing topic with the configured layout; a topic is never changed, so each difference is reported."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

USERS_MOVE = (
    "when partitions are added, users move to other partitions, and an event that is sent before and after the change "
    "is stored twice unless ugc-add-partitions has recorded it"
)
# Kafka's own limit is slightly larger; ingest's Kafka client sends batches of up to this size.
MESSAGE_BYTES = 1_000_000
UNLIMITED = "-1"
MILLISECONDS_PER_HOUR = 3_600_000


class Difference(NamedTuple):
    """A property of the topic that differs from the configuration; `breaks` if the delivery guarantee is lost by it."""

    name: str
    found: str
    wanted: str
    reason: str
    breaks: bool
    variable: str = ""

    def remedy(self, bootstrap_servers: str, topic: str) -> str:
        """Return the command to run, or the variable to change."""
        if self.name == "partitions" and not self.breaks:
            return f"set {self.variable}={self.found}"
        tool = f"--bootstrap-server {bootstrap_servers} --alter"
        settings_of = f"--entity-type topics --entity-name {topic}"
        command = {
            "partitions": f"ugc-add-partitions --to {self.wanted} --apply",
            "replication factor": f"kafka-reassign-partitions.sh with {self.wanted} replicas for each partition",
        }.get(
            self.name,
            f"kafka-configs.sh {tool} {settings_of} --add-config {self.name}={self.wanted}",
        )
        return f"{command}; or set {self.variable}" if self.variable else command

    def __str__(self) -> str:
        return f"{self.name} is {self.found}, should be {self.wanted}: {self.reason}"


class ExistingTopic(NamedTuple):
    """A topic as Kafka describes it: its partitions, the fewest replicas of a partition, and its settings."""

    partitions: int
    replication_factor: int
    settings: Mapping[str, str]


@dataclass(frozen=True)
class TopicLayout:
    """The configured layout of the topic."""

    partitions: int
    replication_factor: int
    min_insync_replicas: int
    retention_hours: int

    @property
    def retention_ms(self) -> str:
        """How long Kafka keeps an event, in milliseconds."""
        return str(self.retention_hours * MILLISECONDS_PER_HOUR)

    def configuration(self) -> dict[str, str]:
        """Return the settings to create the topic with; compaction would delete acknowledged events."""
        return {
            "cleanup.policy": "delete",
            "min.insync.replicas": str(self.min_insync_replicas),
            "retention.ms": self.retention_ms,
        }


def differences(existing: ExistingTopic, wanted: TopicLayout) -> Iterator[Difference]:
    """Yield how a topic differs from the layout; settings that Kafka did not return are not compared."""
    yield from layout_differences(existing, wanted)
    settings = existing.settings
    policy = settings.get("cleanup.policy", "delete")
    if policy != "delete":
        reason = "compaction deletes acknowledged events" if "compact" in policy else "events are deleted differently"
        yield Difference("cleanup.policy", policy, "delete", reason, breaks="compact" in policy)
    if settings.get("unclean.leader.election.enable", "false") == "true":
        reason = "a broker that lacks acknowledged events may become their leader"
        yield Difference("unclean.leader.election.enable", "true", "false", reason, breaks=True)
    yield from limit_differences(settings, wanted)


def layout_differences(existing: ExistingTopic, wanted: TopicLayout) -> Iterator[Difference]:
    """Compare partitions, replicas, and the replicas that an acknowledgement requires."""
    if existing.partitions != wanted.partitions:
        fewer = existing.partitions < wanted.partitions
        yield Difference(
            "partitions",
            str(existing.partitions),
            str(wanted.partitions),
            f"{USERS_MOVE}; therefore ugc-migrate does not add any" if fewer else USERS_MOVE,
            breaks=fewer,
            variable="UGC_KAFKA_PARTITIONS",
        )
    if existing.replication_factor != wanted.replication_factor:
        yield Difference(
            "replication factor",
            str(existing.replication_factor),
            str(wanted.replication_factor),
            "the number of brokers that hold an acknowledged event",
            breaks=existing.replication_factor < wanted.replication_factor,
            variable="UGC_KAFKA_REPLICATION_FACTOR",
        )
    in_sync = int(existing.settings.get("min.insync.replicas", wanted.min_insync_replicas))
    if in_sync > existing.replication_factor:
        reason = f"there are {existing.replication_factor} replicas, so no event can be acknowledged"
        yield Difference("min.insync.replicas", str(in_sync), str(wanted.min_insync_replicas), reason, breaks=True)
    elif in_sync != wanted.min_insync_replicas:
        yield Difference(
            "min.insync.replicas",
            str(in_sync),
            str(wanted.min_insync_replicas),
            "the number of brokers that must have an event before it is acknowledged",
            breaks=in_sync < wanted.min_insync_replicas,
            variable="UGC_KAFKA_MIN_INSYNC_REPLICAS",
        )


def limit_differences(settings: Mapping[str, str], wanted: TopicLayout) -> Iterator[Difference]:
    """Compare the retention and the largest message."""
    retention = settings.get("retention.ms", wanted.retention_ms)
    if retention != wanted.retention_ms:
        reason = "an etl that lags further behind loses events, which are deleted before they are loaded"
        variable = "UGC_KAFKA_RETENTION_HOURS"
        yield Difference("retention.ms", retention, wanted.retention_ms, reason, breaks=False, variable=variable)
    volume = settings.get("retention.bytes", UNLIMITED)
    if volume != UNLIMITED:
        reason = "a larger partition loses events early, including those that are not loaded"
        yield Difference("retention.bytes", volume, UNLIMITED, reason, breaks=False)
    size = settings.get("max.message.bytes", str(MESSAGE_BYTES))
    if int(size) < MESSAGE_BYTES:
        reason = "Kafka rejects larger batches of events, and ingest cannot deliver them"
        yield Difference("max.message.bytes", size, str(MESSAGE_BYTES), reason, breaks=False)
