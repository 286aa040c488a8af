"""Settings of ingest, each read from a UGC_* variable that ends with its unit."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Self

from pydantic import Field, ValidationInfo, field_validator

from common.failpoints import FailpointSettings
from common.kafka_settings import KafkaSettings
from common.management import ManagementListen
from common.networks import LOOPBACK, Network, Networks
from common.settings import Address, AddressSetting, Documented, LogSettings, Settings
from common.tls.files import TlsFiles
from common.tls.settings import TlsFile, check_server_file
from common.trace_settings import TraceSettings
from common.watchdog import WatchdogSettings
from common.workers.setting import Divided, read_workers, share
from services.ingest.auth.settings import AuthenticationSettings

# The limits of which each worker has a share, and the smallest possible shares.
DIVIDED = (
    Divided("ingest_requests_max"),
    Divided("ingest_bytes_in_flight_max", lambda settings: settings.get("ingest_request_bytes_max", 1)),
    Divided("ingest_connections_max"),
    Divided("ingest_queue_events_max"),
    Divided("ingest_queue_kilobytes_max", lambda _settings: QUEUE_KILOBYTES_MIN),
)
QUEUE_KILOBYTES_MIN = 1_024
# Those of RFC 1918 and RFC 4193, in which gateways usually are, and the machine itself.
PRIVATE: tuple[Network, ...] = (
    *LOOPBACK,
    *map(ipaddress.ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")),
)


class IngestListenSettings(Settings):
    """Address of the gRPC server; shared with `ugc-up`, which has to connect to it."""

    ingest_listen: AddressSetting = Address("0.0.0.0", 50051)  # noqa: S104 -- a server for other hosts
    """Address on which the gRPC server listens, as `host:port`; port 0 lets the system choose one."""


class IngestManagementSettings(Settings):
    """Address of the management listener; shared with `ugc-up`, which shows it."""

    ingest_management_listen: ManagementListen = Address("127.0.0.1", 9464)
    """Address on which ingest serves `/metrics`, `/livez` and `/readyz` over HTTP, as `host:port`; empty for none."""


class IngestTlsSettings(Settings):
    """TLS of the gRPC server; shared with `ugc-up`, which has to connect to it."""

    ingest_tls_cert_file: TlsFile = None
    """File with the certificate of the gRPC server as PEM, intermediate ones after it; the server then accepts TLS 1.2
    and 1.3 only. Files of TLS are read again when they change."""

    ingest_tls_key_file: TlsFile = None
    """File with the private key of UGC_INGEST_TLS_CERT_FILE as PEM, not encrypted."""

    ingest_tls_client_ca_file: TlsFile = None
    """File with the certificates of the authorities, as PEM, one of which must have issued the certificate of a client;
    without this file clients need none."""

    _files = field_validator("ingest_tls_cert_file", "ingest_tls_key_file", "ingest_tls_client_ca_file")(
        check_server_file
    )

    @property
    def ingest_tls(self) -> TlsFiles | None:
        """The files of the server's TLS, None without TLS."""
        if self.ingest_tls_cert_file is None:
            return None
        return TlsFiles(self.ingest_tls_cert_file, self.ingest_tls_key_file, self.ingest_tls_client_ca_file)


class RequestSettings(Settings):
    """Limits of requests and of the memory that they take."""

    ingest_request_bytes_max: int = Field(default=8_388_608, ge=65_536, le=268_435_456)
    """Largest request, in bytes of Protobuf; a larger one is rejected with RESOURCE_EXHAUSTED."""

    ingest_compression: bool = False
    """Whether compressed requests are accepted; otherwise they are rejected with UNIMPLEMENTED. Enable it for trusted
    callers only: gRPC decompresses a request before any limit applies, so 16 kB can expand to the largest request and
    take 250 MB of memory."""

    ingest_event_bytes_max: int = Field(default=65_536, ge=1_024, le=900_000)
    """Largest event, in bytes of Protobuf; a larger one is rejected with INVALID_ARGUMENT. Keep it below the topic's
    `max.message.bytes`, 1 MB by default."""

    ingest_requests_max: int = Field(default=1_000, ge=1, le=100_000)
    """Requests processed at once; more are rejected with RESOURCE_EXHAUSTED and a retry delay. A single connection may
    take 72 % of them, several share them, and a tenth is reserved for connections that have almost none."""

    ingest_bytes_in_flight_max: int = Field(default=134_217_728, ge=65_536, le=68_719_476_736)
    """Bytes of the requests processed at once; more are rejected with RESOURCE_EXHAUSTED and a retry delay, and
    connections share them as they share UGC_INGEST_REQUESTS_MAX. With the other defaults the process needs at most
    three times this memory, 512 MiB, and 64 KiB for each call whose message is not read yet."""

    ingest_message_seconds_max: float = Field(default=10.0, ge=0.5, le=300)
    """Seconds within which the message of a call must arrive; then the call ends with DEADLINE_EXCEEDED."""

    @field_validator("ingest_bytes_in_flight_max")
    @classmethod
    def _holds_a_request(cls, bytes_max: int, info: ValidationInfo) -> int:
        """Reject a limit that is smaller than the largest request, which would then never be admitted."""
        request_bytes_max = info.data.get("ingest_request_bytes_max", 0)
        if bytes_max < request_bytes_max:
            raise ValueError(f"must be at least UGC_INGEST_REQUEST_BYTES_MAX ({request_bytes_max})")
        return bytes_max


class ConnectionSettings(Settings):
    """Limits and lifetime of connections."""

    ingest_streams_max: int = Field(default=4_096, ge=1, le=100_000)
    """Concurrent calls on one connection. gRPC rejects more with UNAVAILABLE and no retry delay while a client has not
    received the limit yet, so keep it above UGC_INGEST_REQUESTS_MAX."""

    ingest_connections_max: int = Field(default=10_000, ge=1, le=1_000_000)
    """Open connections, each a file descriptor; one more is closed at once."""

    ingest_relay: bool = True
    """Whether the relay service is offered, by which the gateway sends many calls in one stream; a relayed call costs a
    fraction of a call of its own. Limits, authentication and errors are the same."""

    ingest_relay_streams_max: int = Field(default=64, ge=1, le=10_000)
    """Open relay streams of a worker, at most 4 on a connection; one more is rejected, and its client makes calls of
    their own. An unread frame of each takes up to UGC_INGEST_REQUEST_BYTES_MAX of memory; if memory becomes scarce,
    streams are ended once their calls are answered."""

    ingest_connection_idle_seconds_max: float = Field(default=300.0, ge=0.1, le=86_400)
    """Seconds without a call after which a connection is asked to close (GOAWAY); clients reconnect by themselves."""

    ingest_connection_age_seconds_max: float = Field(default=300.0, ge=0.1, le=86_400)
    """Seconds, give or take a tenth, after which every connection is asked to close (GOAWAY), so that clients spread
    over the replicas."""

    ingest_connection_grace_seconds: float = Field(default=60.0, ge=0.1, le=3_600)
    """Seconds that running calls have to finish on a connection that was asked to close for its age; then they are
    cancelled."""


class ProducerSettings(Settings):
    """The Kafka producer."""

    ingest_delivery_seconds_max: float = Field(default=5.0, ge=0.5, le=300)
    """Seconds within which Kafka must acknowledge an event; then the event is answered with UNAVAILABLE."""

    ingest_queue_events_max: int = Field(default=200_000, ge=1, le=10_000_000)
    """Events in the producer's queue; an event that finds it full is answered with UNAVAILABLE."""

    ingest_queue_kilobytes_max: int = Field(default=262_144, ge=QUEUE_KILOBYTES_MIN, le=2_097_151)
    """Kilobytes of events in the producer's queue; an event that finds it full is answered with UNAVAILABLE."""

    ingest_kafka_requests_max: int = Field(default=5, ge=1, le=5)
    """Requests in flight to each Kafka broker where every round trip takes more than 20 milliseconds, as over a slow
    network. Elsewhere one is in flight, because more would cost up to 20 microseconds of CPU an event."""

    ingest_linger_seconds: float = Field(default=0.005, ge=0, le=1)
    """Seconds that single events wait at most, while others are in flight, so that they share a Kafka request; an event
    that comes while none is in flight is sent at once."""

    ingest_retry_seconds: float = Field(default=1.0, gt=0, le=60)
    """Retry delay in seconds that clients receive with UNAVAILABLE and RESOURCE_EXHAUSTED, unless it is computed from
    the events in flight and the rate at which Kafka acknowledges them."""


class EventAdmissionSettings(Settings):
    """The events in flight to Kafka, and who may send them when Kafka is slow."""

    ingest_ack_seconds: float = Field(default=0.25, ge=0.01, le=60)
    """Seconds within which Kafka should acknowledge events. While it takes longer, fewer events may be in flight, down
    to UGC_INGEST_IN_FLIGHT_EVENTS_MIN, and further ones are rejected before they are validated, with a retry delay.
    While it does not, more may be, up to UGC_INGEST_QUEUE_EVENTS_MAX."""

    ingest_in_flight_events_min: int = Field(default=200, ge=1, le=1_000_000)
    """Events that may be in flight to Kafka however long it takes; of each worker."""

    ingest_trusted_networks: Networks = PRIVATE
    """Networks of the gateways, as `10.0.0.0/8` separated by commas, whose `x-forwarded-for` names the client. When
    Kafka takes fewer events than are sent, each client has its share: by the subject of its token, without one by its
    network. Without tokens a program in these networks that calls ingest itself can name any number of clients and take
    all shares: then list only the gateways."""


class IngestSettings(
    KafkaSettings,
    LogSettings,
    TraceSettings,
    AuthenticationSettings,
    FailpointSettings,
    WatchdogSettings,
    IngestListenSettings,
    IngestTlsSettings,
    IngestManagementSettings,
    RequestSettings,
    ConnectionSettings,
    ProducerSettings,
    EventAdmissionSettings,
):
    """Settings of the gRPC server and its Kafka producer."""

    ingest_health_seconds: float = Field(default=1.0, gt=0, le=60)
    """Seconds between two checks whether Kafka answers, and the timeout of each; the health service reports the
    result."""

    ingest_drain_seconds: float = Field(default=0.5, ge=0, le=60)
    """Seconds after SIGTERM during which ingest reports NOT_SERVING and still accepts calls, so that callers leave."""

    ingest_stop_seconds_max: float = Field(default=10.0, ge=0, le=300)
    """Seconds after the drain that running calls have to finish; then they are cancelled."""

    ingest_debug: bool = False
    """Whether RandomBatchProduce makes up events and stores them; for development only."""

    ingest_workers: Annotated[int, Documented("1 to 256, or `auto`")] = 1
    """Worker processes that serve on the one address, to use several CPUs; `auto` is one for each CPU that affinity and
    control group allow, or as many as the limits can be divided among. The limits of requests, bytes in flight,
    connections and the producer's queue are those of all workers together, and each worker has an equal share; its
    share of bytes in flight must hold the largest request. All other limits are those of one worker. More than 1 worker
    needs Linux."""

    @field_validator("ingest_workers", mode="before")
    @classmethod
    def _can_share(cls, given: object, info: ValidationInfo) -> object:
        return read_workers(given, DIVIDED, info.data)

    def share(self) -> Self:
        """Return the settings of one of the workers, which has its shares of the limits."""
        return share(self, DIVIDED, self.ingest_workers)
