"""Settings of the stores: of the local servers, and of the topic and tables that `ugc-migrate` makes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from services.runtime.settings import KafkaSettings, LogSettings, Settings

ROOT = Path(__file__).resolve().parents[1]
PORT_MAX = 65_535


class LocalSettings(Settings):
    """Where the local servers keep their data and listen."""

    local_directory: Annotated[Path, AfterValidator(Path.absolute)] = ROOT / ".local"
    local_kafka_port: int = Field(default=9092, ge=1, le=PORT_MAX)
    local_kafka_controller_port: int = Field(default=9093, ge=1, le=PORT_MAX)
    local_clickhouse_port: int = Field(default=9000, ge=1, le=PORT_MAX)
    local_clickhouse_http_port: int = Field(default=8123, ge=1, le=PORT_MAX)


class ClickHouseSettings(Settings):
    """Where the tables are."""

    clickhouse_url: str = Field(
        default="clickhouse://default@localhost:9000/ugc",
        pattern=r"^clickhouses?://[^/\s]+/[A-Za-z_][A-Za-z0-9_]*(\?.*)?$",
    )
    # The cluster's name in ClickHouse's configuration; empty for a single server.
    clickhouse_cluster: str = Field(default="", pattern=r"^[A-Za-z0-9_]*$")


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


class AuditSettings(KafkaSettings, ClickHouseSettings):
    """What is audited: the etl's group and window, and the tables it writes."""

    etl_group: str = Field(default="ugc-etl", min_length=1, max_length=249)
    # An event whose event_id and user_id occur together among the previous so many of its partition is a repeat.
    etl_duplicate_window: int = Field(default=100_000, ge=1, le=10_000_000)
    # A partition whose first message that is not consumed was written longer ago stands still, which is a breach.
    # It is longer than a takeover and a restart of any process take.
    audit_lag_seconds_max: float = Field(default=60.0, gt=0, le=604_800)


class ReplaySettings(KafkaSettings, ClickHouseSettings):
    """Where rejected events are, and where they go."""
