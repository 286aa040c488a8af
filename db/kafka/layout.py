"""How the topic is to be, and how an existing one differs: it is never changed, so every difference must be seen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

REPEATS_STORED_TWICE = (
    "when partitions are added, users move to other partitions, and an event that is sent again across the change is "
    "stored twice: let senders stop repeating first, or make a new topic"
)
# Kafka's own limit is a little more; ingest's client packs events into messages of up to so many bytes.
MESSAGE_BYTES = 1_000_000
UNLIMITED = "-1"
MILLISECONDS_PER_HOUR = 3_600_000


class Difference(NamedTuple):
    """One thing that is not as wanted; `breaks` says whether the delivery guarantee is lost with it."""

    name: str
    found: str
    wanted: str
    reason: str
    breaks: bool
    variable: str = ""

    def cure(self, bootstrap_servers: str, topic: str) -> str:
        """Say what to run, or which variable to change."""
        if self.name == "partitions" and not self.breaks:
            return f"set {self.variable}={self.found}"
        tool = f"--bootstrap-server {bootstrap_servers} --alter"
        settings_of = f"--entity-type topics --entity-name {topic}"
        command = {
            "partitions": f"kafka-topics.sh {tool} --topic {topic} --partitions {self.wanted}",
            "replication factor": f"kafka-reassign-partitions.sh with {self.wanted} replicas for each partition",
        }.get(
            self.name,
            f"kafka-configs.sh {tool} {settings_of} --add-config {self.name}={self.wanted}",
        )
        return f"{command}; or set {self.variable}" if self.variable else command

    def __str__(self) -> str:
        return f"{self.name} is {self.found}, wanted is {self.wanted}: {self.reason}"


class Existing(NamedTuple):
    """A topic as Kafka describes it: partitions, the smallest number of replicas of one, and all its settings."""

    partitions: int
    replication_factor: int
    settings: Mapping[str, str]


@dataclass(frozen=True)
class TopicLayout:
    """How a topic is to be."""

    partitions: int
    replication_factor: int
    min_insync_replicas: int
    retention_hours: int

    @property
    def retention_ms(self) -> str:
        """How long Kafka keeps an event."""
        return str(self.retention_hours * MILLISECONDS_PER_HOUR)

    def configuration(self) -> dict[str, str]:
        """Return the topic's own settings; compaction would break the order of offsets that delivery relies on."""
        return {
            "cleanup.policy": "delete",
            "min.insync.replicas": str(self.min_insync_replicas),
            "retention.ms": self.retention_ms,
        }


def differences(found: Existing, wanted: TopicLayout) -> Iterator[Difference]:
    """Compare a topic with what is wanted; settings that Kafka did not name are not compared."""
    yield from layout_differences(found, wanted)
    settings = found.settings
    policy = settings.get("cleanup.policy", "delete")
    if policy != "delete":
        reason = "compaction removes acknowledged events" if "compact" in policy else "events are kept otherwise"
        yield Difference("cleanup.policy", policy, "delete", reason, breaks="compact" in policy)
    if settings.get("unclean.leader.election.enable", "false") == "true":
        reason = "a broker that lacks acknowledged events may become their leader"
        yield Difference("unclean.leader.election.enable", "true", "false", reason, breaks=True)
    yield from limit_differences(settings, wanted)


def layout_differences(found: Existing, wanted: TopicLayout) -> Iterator[Difference]:
    """Compare partitions, replicas, and how many replicas an acknowledgement stands for."""
    if found.partitions != wanted.partitions:
        fewer = found.partitions < wanted.partitions
        yield Difference(
            "partitions",
            str(found.partitions),
            str(wanted.partitions),
            f"{REPEATS_STORED_TWICE}; so it is not done here" if fewer else REPEATS_STORED_TWICE,
            breaks=fewer,
            variable="UGC_KAFKA_PARTITIONS",
        )
    if found.replication_factor != wanted.replication_factor:
        yield Difference(
            "replication factor",
            str(found.replication_factor),
            str(wanted.replication_factor),
            "as many copies of an acknowledged event are kept",
            breaks=found.replication_factor < wanted.replication_factor,
            variable="UGC_KAFKA_REPLICATION_FACTOR",
        )
    in_sync = int(found.settings.get("min.insync.replicas", wanted.min_insync_replicas))
    if in_sync > found.replication_factor:
        reason = f"there are {found.replication_factor} replicas, so no event can be acknowledged"
        yield Difference("min.insync.replicas", str(in_sync), str(wanted.min_insync_replicas), reason, breaks=True)
    elif in_sync != wanted.min_insync_replicas:
        yield Difference(
            "min.insync.replicas",
            str(in_sync),
            str(wanted.min_insync_replicas),
            "an acknowledged event is on at least so many brokers",
            breaks=in_sync < wanted.min_insync_replicas,
            variable="UGC_KAFKA_MIN_INSYNC_REPLICAS",
        )


def limit_differences(settings: Mapping[str, str], wanted: TopicLayout) -> Iterator[Difference]:
    """Compare how long Kafka keeps events, and how large a message may be."""
    retention = settings.get("retention.ms", wanted.retention_ms)
    if retention != wanted.retention_ms:
        reason = "the etl may stay behind for so long, then events are deleted before they are loaded"
        variable = "UGC_KAFKA_RETENTION_HOURS"
        yield Difference("retention.ms", retention, wanted.retention_ms, reason, breaks=False, variable=variable)
    volume = settings.get("retention.bytes", UNLIMITED)
    if volume != UNLIMITED:
        reason = "a partition that grows larger loses events before their time, also those that are not loaded"
        yield Difference("retention.bytes", volume, UNLIMITED, reason, breaks=False)
    size = settings.get("max.message.bytes", str(MESSAGE_BYTES))
    if int(size) < MESSAGE_BYTES:
        reason = "Kafka refuses larger batches of events, and ingest cannot deliver them"
        yield Difference("max.message.bytes", size, str(MESSAGE_BYTES), reason, breaks=False)
