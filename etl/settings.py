"""Settings of the etl, each read from a UGC_* variable that ends with its unit."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator

from common.clickhouse_settings import ClickHouseSettings, server_urls, with_password_file
from common.failpoints import FailpointSettings
from common.kafka_settings import KafkaSettings
from common.management import ManagementListen
from common.settings import (
    CLICKHOUSE_URL,
    Address,
    ConsumerSettings,
    Documented,
    LogSettings,
    Settings,
)
from common.trace_settings import TraceSettings
from etl.servers import require_shards


class EtlManagementSettings(Settings):
    """Address of the management listener; shared with `ugc-up`, which shows it."""

    etl_management_listen: ManagementListen = Address("127.0.0.1", 9466)
    """Address on which the etl serves `/metrics`, `/livez` and `/readyz` over HTTP, as `host:port`; empty for none."""


class EtlSettings(
    KafkaSettings,
    ClickHouseSettings,
    ConsumerSettings,
    LogSettings,
    TraceSettings,
    FailpointSettings,
    EtlManagementSettings,
):
    """Settings of the consumer, its batches and its inserts."""

    etl_shard_urls: Annotated[str, Documented("URLs, separated by spaces")] = Field(
        default="", pattern=rf"^(\s*{CLICKHOUSE_URL}\s*)*$", validate_default=True
    )
    """URL of each shard of the cluster, in the order of the shards' numbers, separated by spaces; each names one
    replica as its host and the others in `alt_hosts`. The rows of a Kafka partition are on the shard `partition modulo
    number of shards`. Empty for a single shard, at UGC_CLICKHOUSE_URL. Stop every etl before you change the number."""

    etl_insert_quorum: Annotated[int, Documented(default="0, which means every replica")] = Field(
        default=0, ge=0, le=100, validate_default=True
    )
    """Replicas of a shard that must hold a row before it counts as stored. With all of them, a shard loads nothing
    while one is absent, and the loss of any one loses no row. With 1, it loads on, and rows that only a lost replica
    held are lost. A recovery of a partition waits for every replica of its shard in either case."""

    etl_flush_seconds: float = Field(default=1.0, gt=0, le=60)
    """Seconds that the oldest event of a partition's batch waits at most before the batch is inserted."""

    etl_flush_rows: int = Field(default=100_000, ge=1, le=1_000_000)
    """Rows at which a partition's batch is inserted without waiting longer."""

    etl_flush_bytes: int = Field(default=67_108_864, ge=65_536, le=1_073_741_824)
    """Bytes of Kafka messages at which a partition's batch is inserted without waiting longer."""

    etl_poll_rows: int = Field(default=50_000, ge=1, le=1_000_000)
    """Messages taken from the Kafka client in one poll at most."""

    etl_buffer_bytes_max: int = Field(default=134_217_728, ge=1_048_576, le=68_719_476_736)
    """Bytes that the messages of all partitions may take in memory before they are stored, the batch that is inserted
    included; then no more are read until a batch is stored. One poll may exceed it."""

    etl_fetch_kilobytes_max: int = Field(default=16_384, ge=1_024, le=1_048_576)
    """Kilobytes that the Kafka client fetches in advance."""

    etl_fence_seconds: float = Field(default=5.0, ge=0.5, le=60)
    """Seconds within which a planned insert must begin; ClickHouse rejects it afterwards, so a new owner of the
    partition waits this long before it recovers the plan."""

    etl_clock_skew_seconds: float = Field(default=0.0, ge=0, le=60)
    """Clock difference in seconds that is tolerated between ClickHouse servers; a recovery waits this much longer. 0 is
    right for a single server."""

    etl_insert_seconds_max: int = Field(default=20, ge=1, le=300)
    """Seconds that an insert may run in ClickHouse (max_execution_time); then it fails and is recovered."""

    etl_refused_ratio_max: float = Field(default=0.01, gt=0, le=1)
    """Share of a partition's last 100,000 rows that ClickHouse may refuse; above it the partition pauses and is retried
    each minute. The process exits with status 1 if ClickHouse accepts no good rows either."""

    etl_refused_in_a_row_max: int = Field(default=1_000, ge=1, le=1_000_000)
    """Consecutive rows of a partition that ClickHouse may refuse; above it the partition pauses and is retried
    each minute, as with UGC_ETL_REFUSED_RATIO_MAX."""

    etl_retry_seconds_min: float = Field(default=0.2, gt=0, le=60)
    """Seconds before a failed partition is retried for the first time; the delay doubles with each further failure."""

    etl_retry_seconds_max: float = Field(default=5.0, gt=0, le=300)
    """Longest delay in seconds before a failed partition is retried."""

    etl_connect_seconds_max: float = Field(default=5.0, gt=0, le=60)
    """Seconds within which a connection to ClickHouse must be established; then the attempt fails and is retried."""

    etl_answer_seconds_max: float = Field(default=30.0, gt=0, le=3_600)
    """Seconds that the etl waits for ClickHouse's next packet; then the insert is recovered. A value below
    UGC_ETL_INSERT_SECONDS_MAX is safe but causes needless recoveries."""

    etl_alive_file: str = ""
    """File that the etl touches while its loop runs, for the liveness probe `python -m etl.alive`; empty for none."""

    etl_alive_seconds_max: float = Field(default=120.0, ge=5, le=3_600)
    """Age in seconds of UGC_ETL_ALIVE_FILE above which the liveness probe fails; keep it above the longest insert. A
    process that makes no progress for so long beyond the wait for ClickHouse's next packet ends with status 1."""

    etl_lateness_seconds_max: float = Field(default=6.0, ge=0, le=3_600)
    """Seconds that an event may be on its way from its receipt into Kafka, differences between clocks included; the
    complete-through time is earlier by so much. At least UGC_INGEST_DELIVERY_SECONDS_MAX."""

    etl_kafka_seconds_max: float = Field(default=10.0, gt=0, le=300)
    """Seconds within which Kafka must answer a request, such as an offset commit; then the partition is retried."""

    @property
    def shard_urls(self) -> list[str]:
        """The URL of each shard."""
        urls = self.etl_shard_urls.split() or [self.clickhouse_url]
        return [with_password_file(url, self.clickhouse_password_file) for url in urls]

    @field_validator("etl_shard_urls")
    @classmethod
    def _of_one_cluster(cls, urls: str, info: ValidationInfo) -> str:
        if {"clickhouse_url", "clickhouse_cluster"} <= info.data.keys():
            try:
                for url in urls.split():
                    with_password_file(url, info.data.get("clickhouse_password_file"))
                require_shards(urls.split() or [info.data["clickhouse_url"]], info.data["clickhouse_cluster"])
            except ValueError as error:
                raise ValueError(f"{'' if urls else 'is empty, and UGC_CLICKHOUSE_URL '}{error}") from None
        return urls

    @field_validator("etl_insert_quorum")
    @classmethod
    def _at_most_the_replicas(cls, quorum: int, info: ValidationInfo) -> int:
        if {"clickhouse_url", "etl_shard_urls"} <= info.data.keys():
            urls = info.data["etl_shard_urls"].split() or [info.data["clickhouse_url"]]
            if quorum > (least := min(len(server_urls(url)) for url in urls)):
                raise ValueError(f"no row could be stored: a shard's URL names {least} replicas")
        return quorum
