"""Settings of ingest, each a UGC_* variable with its unit last; DESIGN's names first."""

from __future__ import annotations

from pydantic import Field

from services.runtime.failpoints import FailpointSettings
from services.runtime.settings import Address, AddressSetting, KafkaSettings, LogSettings


class IngestSettings(KafkaSettings, LogSettings, FailpointSettings):
    """What an operator can choose about the gRPC server and its producer."""

    ingest_listen: AddressSetting = Address("0.0.0.0", 50051)  # noqa: S104 -- a server for other hosts
    # The largest request, in bytes of Protobuf; a larger one is RESOURCE_EXHAUSTED.
    ingest_request_bytes_max: int = Field(default=16_777_216, ge=65_536, le=268_435_456)
    # The largest event, in bytes of Protobuf. Kafka takes messages of 1 MB by default.
    ingest_event_bytes_max: int = Field(default=65_536, ge=1_024, le=900_000)
    # Requests in work at once; one more is RESOURCE_EXHAUSTED.
    ingest_requests_max: int = Field(default=1_000, ge=1, le=100_000)
    # How long Kafka may take to acknowledge an event before it is UNAVAILABLE.
    ingest_delivery_seconds_max: float = Field(default=5.0, ge=0.5, le=300)
    # Events and kilobytes waiting for Kafka; an event that finds no room is UNAVAILABLE.
    ingest_queue_events_max: int = Field(default=200_000, ge=1, le=10_000_000)
    ingest_queue_kilobytes_max: int = Field(default=262_144, ge=1_024, le=2_097_151)
    # How long an event waits for others to share a Kafka request with.
    ingest_linger_seconds: float = Field(default=0.002, ge=0, le=1)
    # What a client is told to wait before it sends an UNAVAILABLE event again.
    ingest_retry_seconds: float = Field(default=1.0, gt=0, le=60)
    # How often the health service asks whether Kafka is reachable.
    ingest_health_seconds: float = Field(default=1.0, gt=0, le=60)
    # After SIGTERM: time for callers to notice NOT_SERVING, then time for requests in work to end.
    ingest_drain_seconds: float = Field(default=0.5, ge=0, le=60)
    ingest_stop_seconds_max: float = Field(default=10.0, ge=0, le=300)
