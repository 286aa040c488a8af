"""Settings of the ETL, each a UGC_* variable with its unit last."""

from __future__ import annotations

from pydantic import Field

from common.failpoints import FailpointSettings
from common.settings import ClickHouseSettings, ConsumerSettings, KafkaSettings, LogSettings


class EtlSettings(KafkaSettings, ClickHouseSettings, ConsumerSettings, LogSettings, FailpointSettings):
    """What an operator can choose about the consumer, its batches and what it promises."""

    # A partition's batch is inserted when its oldest event has waited this long, or when it is this large.
    etl_flush_seconds: float = Field(default=1.0, gt=0, le=60)
    etl_flush_rows: int = Field(default=50_000, ge=1, le=1_000_000)
    etl_flush_bytes: int = Field(default=67_108_864, ge=65_536, le=1_073_741_824)
    # Messages taken from Kafka's client at a time.
    etl_poll_rows: int = Field(default=50_000, ge=1, le=1_000_000)
    # Kilobytes that Kafka's client fetches ahead.
    etl_fetch_kilobytes_max: int = Field(default=65_536, ge=1_024, le=1_048_576)
    # How long a planned insert may take to begin. A recovery waits this long; an insert that begins later is refused.
    etl_fence_seconds: float = Field(default=5.0, ge=0.5, le=60)
    # How far the clocks of ClickHouse's servers may be apart: a recovery waits so much longer. 0 for a single server.
    etl_clock_skew_seconds: float = Field(default=0.0, ge=0, le=60)
    # How long an insert may run in ClickHouse.
    etl_insert_seconds_max: int = Field(default=20, ge=1, le=300)
    # A partition stands still when ClickHouse refuses a larger part of its last 100,000 rows, or so many in a row; when
    # no other partition stores anything and good rows are not taken either, the process stops.
    etl_refused_ratio_max: float = Field(default=0.01, gt=0, le=1)
    etl_refused_in_a_row_max: int = Field(default=1_000, ge=1, le=1_000_000)
    # How long a partition waits to start over after a failure: doubled each time from the first to the second.
    etl_retry_seconds_min: float = Field(default=0.2, gt=0, le=60)
    etl_retry_seconds_max: float = Field(default=5.0, gt=0, le=300)
    # How long connecting to ClickHouse, and waiting for its next packet, may take; shorter than an insert is safe, only
    # costly: the insert is recovered when it has ended.
    etl_connect_seconds_max: float = Field(default=5.0, gt=0, le=60)
    etl_answer_seconds_max: float = Field(default=30.0, gt=0, le=3_600)
    # A file that is touched as long as the loop turns, for `python -m etl.alive`; empty for none. And how long that was
    # ago at most: a turn may last as long as the inserts in it.
    etl_alive_file: str = ""
    etl_alive_seconds_max: float = Field(default=120.0, ge=5, le=3_600)
    # How long Kafka may take to answer a request: a commit, what is committed, the identity of a topic.
    etl_kafka_seconds_max: float = Field(default=10.0, gt=0, le=300)
