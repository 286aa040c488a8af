"""Settings of the administration commands, each a UGC_* variable with its unit last."""

from __future__ import annotations

from pydantic import Field, ValidationInfo, field_validator

from common.settings import ClickHouseSettings, ConsumerSettings, KafkaSettings, LogSettings


class MigrateSettings(KafkaSettings, ClickHouseSettings, LogSettings):
    """How topic and tables are made."""

    kafka_partitions: int = Field(default=6, ge=1, le=10_000)
    kafka_replication_factor: int = Field(default=1, ge=1, le=15)
    kafka_min_insync_replicas: int = Field(default=1, ge=1, le=15)
    kafka_retention_hours: int = Field(default=168, ge=1, le=87_600)
    # How long to wait for the servers.
    migrate_wait_seconds_max: float = Field(default=60.0, gt=0, le=3_600)

    @field_validator("kafka_min_insync_replicas")
    @classmethod
    def _not_more_than_there_are(cls, wanted: int, info: ValidationInfo) -> int:
        replicas = info.data.get("kafka_replication_factor", wanted)
        if wanted > replicas:
            raise ValueError(f"no event could be acknowledged: UGC_KAFKA_REPLICATION_FACTOR is {replicas}")
        return wanted


class AuditSettings(KafkaSettings, ClickHouseSettings, ConsumerSettings):
    """What is audited: the etl's group and window, and the tables it writes."""

    # A partition whose first message that is not consumed was written longer ago stands still, which is a breach.
    # It is longer than a takeover and a restart of any process take.
    audit_lag_seconds_max: float = Field(default=60.0, gt=0, le=604_800)


class ReplaySettings(KafkaSettings, ClickHouseSettings):
    """Where rejected events are, and where they go."""
