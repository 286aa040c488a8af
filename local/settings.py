"""Settings of `ugc-up`: what it must know of the processes it starts, and the servers that the user brings along."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from common.settings import PORT_MAX, Address, AddressSetting, KafkaServers, Settings
from services.ingest.settings import AuthenticationSettings

ROOT = Path(__file__).resolve().parents[1]
# What listens on every address is reached here.
LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 -- addresses to compare with


class LocalSettings(Settings):
    """Where the local servers keep their data and listen."""

    local_directory: Annotated[Path, AfterValidator(Path.absolute)] = ROOT / ".local"
    local_kafka_port: int = Field(default=9092, ge=1, le=PORT_MAX)
    local_kafka_controller_port: int = Field(default=9093, ge=1, le=PORT_MAX)
    local_clickhouse_port: int = Field(default=9000, ge=1, le=PORT_MAX)
    local_clickhouse_http_port: int = Field(default=8123, ge=1, le=PORT_MAX)


class UpSettings(LocalSettings, AuthenticationSettings):
    """Where the doors and the stores are, and who may call; everything else the processes read for themselves."""

    ingest_listen: AddressSetting = Address("0.0.0.0", 50051)  # noqa: S104 -- as ingest's own default
    gateway_listen: AddressSetting = Address("0.0.0.0", 8000)  # noqa: S104 -- as the gateway's own default
    # A server named here is used; without a name a local one is started.
    kafka_bootstrap_servers: KafkaServers | None = None
    clickhouse_url: str | None = None
    kafka_topic: str = "ugc.events"
    etl_group: str = Field(default="ugc-etl", min_length=1)


def reachable(listen: Address) -> Address:
    """Return where this machine reaches an address that something listens on."""
    return Address(LOOPBACK.get(listen.host, listen.host), listen.port)
