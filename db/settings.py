"""Settings of the administration commands, each read from a UGC_* variable that ends with its unit."""

from __future__ import annotations

from pydantic import Field, ValidationInfo, field_validator

from common.clickhouse_settings import ClickHouseSettings
from common.kafka_settings import KafkaSettings
from common.settings import ConsumerSettings, LogSettings


class MigrateSettings(KafkaSettings, ClickHouseSettings, LogSettings):
    """Settings of `ugc-migrate`: how it creates the topic and the tables."""

    kafka_partitions: int = Field(default=6, ge=1, le=10_000)
    """Partitions of the topic, the upper limit of etl processes that share the work."""

    kafka_replication_factor: int = Field(default=1, ge=1, le=15)
    """Replicas of each partition of the topic."""

    kafka_min_insync_replicas: int = Field(default=1, ge=1, le=15)
    """Replicas that must store an event before Kafka acknowledges it; with fewer in sync events are rejected."""

    kafka_retention_hours: int = Field(default=168, ge=1, le=87_600)
    """Hours that Kafka keeps an event; an etl that lags further behind loses events."""

    migrate_wait_seconds_max: float = Field(default=60.0, gt=0, le=3_600)
    """Seconds to wait for Kafka and ClickHouse to answer; then `ugc-migrate` fails."""

    @field_validator("kafka_min_insync_replicas")
    @classmethod
    def _at_most_the_replication_factor(cls, wanted: int, info: ValidationInfo) -> int:
        replicas = info.data.get("kafka_replication_factor", wanted)
        if wanted > replicas:
            raise ValueError(f"no event could be acknowledged: UGC_KAFKA_REPLICATION_FACTOR is {replicas}")
        return wanted


class AuditSettings(KafkaSettings, ClickHouseSettings, ConsumerSettings):
    """Settings of `ugc-audit`: the topic, the consumer group and the tables that it compares."""

    audit_lag_seconds_max: float = Field(default=60.0, gt=0, le=604_800)
    """Age in seconds of a partition's first unconsumed message above which the audit reports a stalled partition;
    keep it above the time of a restart and of a rebalance."""


class ReplaySettings(KafkaSettings, ClickHouseSettings):
    """Settings of `ugc-replay`: the table of rejected events and the topic that receives them again."""


class RewindSettings(KafkaSettings, ClickHouseSettings, ConsumerSettings):
    """Settings of `ugc-rewind`: the consumer group whose offsets it sets, the topic, and the tables."""


class AddPartitionsSettings(KafkaSettings):
    """Settings of `ugc-add-partitions`: the topic that gets partitions."""
