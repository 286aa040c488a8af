"""Settings of `ugc-up` and `ugc-servers`: the local servers, and what `ugc-up` shares with the processes it starts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, field_validator

from common.clickhouse_settings import ClickHouseSettings
from common.kafka_settings import KafkaSettings
from common.management import ManagementListen
from common.settings import PORT_MAX, Address, ConsumerSettings, Documented, Settings
from etl.settings import EtlManagementSettings
from gateway.settings import GatewayListenSettings, GatewayManagementSettings
from gateway.tls_settings import GatewayTlsSettings, TargetTlsSettings
from services.ingest.auth.settings import AuthenticationSettings
from services.ingest.settings import IngestListenSettings, IngestManagementSettings, IngestTlsSettings

ROOT = Path(__file__).resolve().parents[1]
LOCALHOST = "127.0.0.1"
# Where this machine connects to a server that listens on all addresses.
LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 -- addresses to compare with


class LocalSettings(Settings):
    """Data directory and ports of the local servers."""

    local_directory: Annotated[Path, AfterValidator(Path.absolute), Documented(default=".local")] = ROOT / ".local"
    """Directory for the data and logs of the local servers and processes."""

    local_kafka_port: int = Field(default=9092, ge=1, le=PORT_MAX)
    """Port of the local Kafka broker."""

    local_kafka_controller_port: int = Field(default=9093, ge=1, le=PORT_MAX)
    """Port of the local Kafka controller."""

    local_kafka_java_options: str = ""
    """Options for Java, added to those of the local Kafka broker and separated by spaces, as in `-Xmx1g -Xms1g`."""

    local_clickhouse_port: int = Field(default=9000, ge=1, le=PORT_MAX)
    """Port of the local ClickHouse server for its native protocol."""

    local_clickhouse_http_port: int = Field(default=8123, ge=1, le=PORT_MAX)
    """Port of the local ClickHouse server for HTTP."""

    @property
    def local_kafka(self) -> Address:
        """Address of the local Kafka broker."""
        return Address(LOCALHOST, self.local_kafka_port)

    @property
    def local_clickhouse(self) -> str:
        """URL of the local ClickHouse server's database."""
        return f"clickhouse://default@{LOCALHOST}:{self.local_clickhouse_port}/ugc"

    @property
    def local_clickhouse_http(self) -> Address:
        """Address of the local ClickHouse server for HTTP."""
        return Address(LOCALHOST, self.local_clickhouse_http_port)


class UpSettings(
    LocalSettings,
    AuthenticationSettings,
    IngestListenSettings,
    IngestManagementSettings,
    IngestTlsSettings,
    GatewayListenSettings,
    GatewayManagementSettings,
    GatewayTlsSettings,
    TargetTlsSettings,
    EtlManagementSettings,
    KafkaSettings,
    ClickHouseSettings,
    ConsumerSettings,
):
    """Settings that `ugc-up` needs itself; the processes that it starts read their own."""

    local_status_listen: ManagementListen = Address(LOCALHOST, 9467)
    """Address on which `ugc-up` serves the live page `/api/status`, as `host:port`; empty for none."""

    @field_validator("ingest_tls_cert_file", "gateway_tls_cert_file", "ingest_target_tls_ca_file")
    @classmethod
    def _plaintext(cls, path: Path | None) -> Path | None:
        """Reject what the processes would obey and this command's own requests to them would not."""
        if path is not None:
            raise ValueError("the local system has no TLS; see docs/operating/tls.md for processes that have")
        return path

    @property
    def starts_kafka(self) -> bool:
        """Whether a local Kafka is started, because UGC_KAFKA_BOOTSTRAP_SERVERS names no other."""
        return "kafka_bootstrap_servers" not in self.model_fields_set

    @property
    def starts_clickhouse(self) -> bool:
        """Whether a local ClickHouse is started, because UGC_CLICKHOUSE_URL names no other."""
        return "clickhouse_url" not in self.model_fields_set


def reachable(listen: Address) -> Address:
    """Return the address at which this machine connects to a server that listens on `listen`."""
    return Address(LOOPBACK.get(listen.host, listen.host), listen.port)
