"""Settings of `ugc-up`: what it must know of the processes it starts, and the servers that the user brings along."""

from __future__ import annotations

from pydantic import Field

from db.settings import LocalSettings
from services.runtime.settings import Address, AddressSetting


class UpSettings(LocalSettings):
    """Where the doors and the stores are; everything else the processes read for themselves."""

    ingest_listen: AddressSetting = Address("0.0.0.0", 50051)  # noqa: S104 -- as ingest's own default
    gateway_listen: AddressSetting = Address("0.0.0.0", 8000)  # noqa: S104 -- as the gateway's own default
    # A server named here is used; without a name a local one is started.
    kafka_bootstrap_servers: str | None = None
    clickhouse_url: str | None = None
    kafka_topic: str = "ugc.events"
    etl_group: str = Field(default="ugc-etl", min_length=1)


def reachable(listen: Address) -> Address:
    """Return where this machine reaches an address that something listens on."""
    return Address("127.0.0.1" if listen.host in {"0.0.0.0", "::"} else listen.host, listen.port)  # noqa: S104
