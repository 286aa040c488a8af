"""Settings of the gateway, each read from a UGC_* variable that ends with its unit."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, ValidationInfo, field_validator
from pydantic_settings import NoDecode

from common.commands import product_version
from common.management import ManagementListen
from common.networks import LOOPBACK, Networks
from common.settings import Address, AddressSetting, Documented, LogSettings, Settings
from common.trace_settings import HeadSamplingSettings
from common.watchdog import WatchdogSettings
from common.workers.setting import Divided, read_workers, share
from gateway.setting_types import Origins
from gateway.targets import check_targets
from gateway.tls_settings import GatewayTlsSettings, TargetTlsSettings

# The limits of which each worker has a share, and the smallest possible shares.
DIVIDED = (
    Divided("gateway_large_bodies_max"),
    Divided("gateway_concurrency_max"),
    Divided(
        "gateway_bytes_in_flight_max",
        lambda settings: settings.get("gateway_body_bytes_max", 1) / settings.get("gateway_client_ratio_max", 1),
    ),
    Divided("gateway_connections_max"),
)
# Instead of the path of a file: the services are learned from the server.
REFLECTION = Path("reflection")


def product_descriptors() -> Path:
    """Where the product's own descriptor set lies."""
    return Path(str(files("ugc.v1").joinpath("descriptors.binpb")))


class GatewayListenSettings(Settings):
    """Address of the HTTP server; shared with `ugc-up`, which has to connect to it."""

    # NoDecode for the reason above: an address is a tuple.
    gateway_listen: Annotated[AddressSetting, NoDecode] = Address("0.0.0.0", 8000)  # noqa: S104 -- a server for other hosts
    """Address on which the HTTP server listens, as `host:port`; port 0 lets the system choose one."""


class GatewayManagementSettings(Settings):
    """Address of the management listener; shared with `ugc-up`, which shows it."""

    gateway_management_listen: ManagementListen = Address("127.0.0.1", 9465)
    """Address on which the gateway serves `/metrics`, `/livez` and `/readyz` over HTTP, as `host:port`; empty for none.
    Unlike the pages of the public address, these share no limit with requests."""


class GatewaySettings(
    LogSettings,
    HeadSamplingSettings,
    WatchdogSettings,
    GatewayListenSettings,
    GatewayTlsSettings,
    TargetTlsSettings,
    GatewayManagementSettings,
):
    """Settings of the HTTP server and of its calls to the gRPC service."""

    ingest_target: Annotated[str, AfterValidator(check_targets), Documented("host:port,host:port or gRPC name")] = (
        Field(default="localhost:50051", max_length=1_024)
    )
    """gRPC service that the gateway calls, as `host:port` or in a gRPC naming scheme such as `dns:///ingest:50051`. All
    addresses of a name are replicas, which get calls in turn, and so are several hosts separated by commas."""

    gateway_resolve_seconds: float = Field(default=5.0, ge=0.1, le=3_600)
    """Seconds between two questions for the addresses of the hosts of UGC_INGEST_TARGET, after which a new replica is
    found."""

    gateway_ping_seconds: float = Field(default=6.0, ge=1, le=3_600)
    """Seconds without a byte of a replica after which the gateway pings it. Ingest allows a ping every 5 seconds."""

    gateway_ping_seconds_max: float = Field(default=3.0, ge=0.1, le=300)
    """Seconds within which a replica must answer a ping. Then its connection is closed, and calls that wait on it end
    with UNAVAILABLE (503)."""

    gateway_descriptors: Annotated[Path, Documented(default="the descriptor set of this product")] = Field(
        default_factory=product_descriptors
    )
    """FileDescriptorSet, with imports and comments, whose services with google.api.http options are served; or
    `reflection`, to learn the services from the server that is called. A file of that name needs its absolute path."""

    gateway_reflection_seconds: float = Field(default=10.0, ge=0.1, le=3_600)
    """Seconds between two questions by reflection which services the server runs, besides one after each reconnection.
    Asked when the descriptors are learned so, or when some of them are optional."""

    gateway_reflection_seconds_max: float = Field(default=5.0, gt=0, le=300)
    """Seconds that the responses to one question by reflection may take."""

    gateway_reflection_bytes_max: int = Field(default=16_777_216, ge=65_536, le=268_435_456)
    """Bytes that the responses to one question by reflection may have; larger descriptors are not learned."""

    gateway_api_version: Annotated[str, Documented(default="the version of this package")] = Field(
        default_factory=product_version, min_length=1, max_length=64
    )
    """Version of the API in the OpenAPI document, where the descriptors declare none."""

    gateway_body_bytes_max: int = Field(default=8_388_608, ge=1_024, le=268_435_456)
    """Largest request body in bytes, after decompression; a larger one is answered with 413. 10,000 events of the
    documented form have 3.3 MB."""

    gateway_form_bytes_max: int = Field(default=65_536, ge=1_024, le=1_048_576)
    """Largest form body in bytes, after decompression, that is read as query parameters; a larger one is answered with
    413."""

    gateway_expansion_ratio_max: int = Field(default=100, ge=10, le=1_100)
    """Largest ratio of a body's decompressed size to its compressed size, checked above 4 MiB; a larger one is answered
    with 413."""

    gateway_values_max: int = Field(default=250_000, ge=10_000, le=10_000_000)
    """JSON values in one body, where the request has repeated fields; more are answered with 400. 10,000 events of the
    documented form have 130,000."""

    gateway_body_seconds_max: float = Field(default=30.0, gt=0, le=3_600)
    """Seconds within which a client must send a body; a slower one is answered with 408."""

    gateway_body_grace_seconds: float = Field(default=5.0, gt=0, le=3_600)
    """Seconds after which UGC_GATEWAY_BODY_BYTES_PER_SECOND_MIN applies to a body that is being sent."""

    gateway_body_bytes_per_second_min: int = Field(default=1_024, ge=1, le=1_073_741_824)
    """Average bytes per second at which a client must send a body after the grace time; a slower one is answered with
    408."""

    gateway_large_bodies_max: int = Field(default=16, ge=1, le=10_000)
    """Bodies above 128 KiB that wait to be parsed, one at a time on a thread of their own; one more is answered with
    503."""

    gateway_timeout_seconds: float = Field(default=10.0, gt=0, le=3_600)
    """Seconds that a call may take when the client sends no Grpc-Timeout; then it is answered with 504."""

    gateway_timeout_seconds_max: float = Field(default=60.0, gt=0, le=3_600)
    """Seconds that a client's Grpc-Timeout may ask for; a longer one is shortened to this."""

    gateway_answer_bytes_max: int = Field(default=16_777_216, ge=1_024, le=268_435_456)
    """Largest response of the service, in bytes of Protobuf; a larger one fails the call."""

    gateway_concurrency_max: int = Field(default=256, ge=1, le=100_000)
    """Requests processed at once, counted from the end of their body; one more is answered with 503."""

    gateway_client_ratio_max: float = Field(default=0.5, gt=0, le=1)
    """Part of UGC_GATEWAY_CONCURRENCY_MAX and UGC_GATEWAY_BYTES_IN_FLIGHT_MAX that one client address may take; more
    is answered with 503. Behind a trusted proxy the address is the last one of X-Forwarded-For, and without that header
    the limit does not apply."""

    gateway_bytes_in_flight_max: int = Field(default=268_435_456, ge=1_024, le=68_719_476_736)
    """Bytes of request bodies and messages in memory, including bodies that are still arriving; requests beyond it are
    answered with 503."""

    gateway_connections_max: int = Field(default=4_096, ge=1, le=1_000_000)
    """Open connections; at the limit the one that has been silent for longest is closed. The limit of open files is
    raised accordingly."""

    gateway_head_seconds_max: float = Field(default=10.0, gt=0, le=3_600)
    """Seconds within which a client must send the head of a request; then the connection is closed."""

    gateway_retry_seconds: int = Field(default=1, ge=1, le=3_600)
    """Retry-After in seconds of a 429 or 503 for which the service gives no delay."""

    gateway_reconnect_seconds_max: float = Field(default=1.0, ge=0.1, le=60)
    """Longest pause in seconds between two attempts to connect to the service."""

    gateway_ready_seconds_max: float = Field(default=1.0, gt=0, le=60)
    """Seconds within which the service must answer the health check of `/readyz`; then `/readyz` answers with 503."""

    gateway_answer_seconds_max: float = Field(default=30.0, gt=0, le=3_600)
    """Seconds within which a client must read 16 KiB of its response, or the rest; then its connection is aborted."""

    gateway_keepalive_seconds: float = Field(default=75.0, ge=0, le=3_600)
    """Seconds after which an idle connection is closed."""

    gateway_relay: bool = True
    """Whether calls travel in one stream of ugc.relay.v1.RelayService when the service offers it. Without it each call
    is a unary call of its own, with the same answers at a higher cost."""

    gateway_lane: bool = True
    """Whether ordinary requests are answered on the fast lane. Responses are the same without it, at several times the
    cost; to find out whether a fault is in it."""

    gateway_cors_origins: Origins = ()
    """Origins whose scripts may call the gateway from a browser, as `https://cinema.example` separated by commas; none
    by default."""

    gateway_cors_seconds_max: int = Field(default=7_200, ge=0, le=86_400)
    """Seconds that a browser may cache the response to a preflight request."""

    gateway_trusted_networks: Networks = LOOPBACK
    """Networks of the proxies in front of the gateway, as `10.0.0.0/8` separated by commas, whose X-Forwarded-* headers
    are trusted."""

    gateway_demo: bool = False
    """Whether `/api/demo` serves a page that sends events as a player does, to try the system out."""

    gateway_drain_seconds: float = Field(default=0.5, ge=0, le=60)
    """Seconds after SIGTERM during which `/readyz` answers with 503 and requests are still accepted, so that load
    balancers notice."""

    gateway_stop_seconds_max: float = Field(default=10.0, ge=0, le=300)
    """Seconds after the drain that running requests have to finish; then they are cancelled."""

    gateway_workers: Annotated[int, Documented("1 to 256, or `auto`")] = 1
    """Worker processes that serve on the one address, to use several CPUs; `auto` is one for each CPU that affinity and
    control group allow, or as many as the limits can be divided among. The limits of requests, bytes in flight,
    connections and waiting large bodies are those of all workers together, and each worker has an equal share; one
    client's part of its bytes in flight must hold the largest body. All other limits are those of one worker. More than
    1 worker needs Linux."""

    @field_validator("gateway_bytes_in_flight_max")
    @classmethod
    def _holds_a_body(cls, bytes_max: int, info: ValidationInfo) -> int:
        """Reject a limit of which one client's part is smaller than the largest body, which would never be admitted."""
        body_bytes_max = info.data.get("gateway_body_bytes_max", 0)
        if bytes_max * info.data.get("gateway_client_ratio_max", 1) < body_bytes_max:
            raise ValueError(f"one client's part of it must hold a body of {body_bytes_max} bytes")
        return bytes_max

    @field_validator("gateway_workers", mode="before")
    @classmethod
    def _can_share(cls, given: object, info: ValidationInfo) -> object:
        return read_workers(given, DIVIDED, info.data)

    def share(self) -> Self:
        """Return the settings of one of the workers, which has its shares of the limits."""
        return share(self, DIVIDED, self.gateway_workers)
