"""Settings of the gateway, each a UGC_* variable with its unit last; DESIGN's names first."""

from __future__ import annotations

import ipaddress
from importlib.resources import files
from pathlib import Path
from typing import Annotated, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator
from pydantic_settings import NoDecode

from common.settings import Address, AddressSetting, LogSettings, host_and_port
from common.watchdog import WatchdogSettings
from gateway.http.origins import check_origins

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
# Names by which gRPC finds a service.
SCHEMES = ("dns:", "ipv4:", "ipv6:", "unix:", "unix-abstract:", "xds:")
# Of an address of IPv4 written as one of IPv6, which the gateway reads as what it is.
MAPPED_BITS = 96


def split(text: object) -> object:
    """Read a list with commas between its items."""
    return tuple(item for part in text.split(",") if (item := part.strip())) if isinstance(text, str) else text


def networks(text: object) -> object:
    """Read networks with commas between them; ValueError with the right spelling when one could never match."""
    given = split(text)
    return tuple(map(network, given)) if isinstance(text, str) and isinstance(given, tuple) else given


def network(text: str) -> Network:
    """Read one network or address."""
    try:
        found = ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise ValueError(f"{text!r} is not a valid network: it is like 10.0.0.0/8 or fd00::/8") from error
    first = found.network_address
    mapped = first.ipv4_mapped if isinstance(first, ipaddress.IPv6Address) else None
    if mapped is not None and found.prefixlen >= MAPPED_BITS:
        raise ValueError(f"{text!r} never matches: write {mapped}/{found.prefixlen - MAPPED_BITS}")
    if "/" in text and ipaddress.ip_address(text.partition("/")[0]) != first:
        raise ValueError(
            f"{text!r} is an address in a network: the network is {found}, the address {text.partition('/')[0]}"
        )
    return found


def check_target(text: str) -> str:
    """Return where the service is: `host:port`, or one of gRPC's own schemes."""
    if not text.startswith(SCHEMES):
        host_and_port(text, port_min=1)
    return text


# NoDecode: pydantic-settings would read tuples as JSON.
Origins = Annotated[tuple[str, ...], NoDecode, BeforeValidator(split), AfterValidator(check_origins)]
Networks = Annotated[tuple[Network, ...], NoDecode, BeforeValidator(networks)]
LOOPBACK: tuple[Network, ...] = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))


def product_descriptors() -> Path:
    """Where the product's own descriptor set lies."""
    return Path(str(files("ugc.v1").joinpath("descriptors.binpb")))


class GatewaySettings(LogSettings, WatchdogSettings):
    """What an operator can choose about the HTTP server and the calls behind it."""

    # NoDecode for the reason above: an address is a tuple.
    gateway_listen: Annotated[AddressSetting, NoDecode] = Address("0.0.0.0", 8000)  # noqa: S104 -- a server for other hosts
    ingest_target: Annotated[str, AfterValidator(check_target)] = Field(default="localhost:50051", max_length=1_024)
    # A FileDescriptorSet with imports and comments; its services with google.api.http options are served.
    gateway_descriptors: Path = Field(default_factory=product_descriptors)
    # The largest body of a request, after decompression; a larger one is 413. 10,000 documented events have 3.3 MB.
    gateway_body_bytes_max: int = Field(default=8_388_608, ge=1_024, le=268_435_456)
    # The largest form that stands for query parameters, after decompression; a larger one is 413.
    gateway_form_bytes_max: int = Field(default=65_536, ge=1_024, le=1_048_576)
    # How many times its bytes a compressed body may expand to, above 4 MiB; one that expands to more is 413.
    gateway_expansion_ratio_max: int = Field(default=100, ge=10, le=1_100)
    # JSON values that a body may hold, where it may hold a list; more are 400. 10,000 documented events have 130,000.
    gateway_values_max: int = Field(default=250_000, ge=10_000, le=10_000_000)
    # How long a client may take to send a body, and at which average rate, from which second on; a slower one is 408.
    gateway_body_seconds_max: float = Field(default=30.0, gt=0, le=3_600)
    gateway_body_grace_seconds: float = Field(default=5.0, gt=0, le=3_600)
    gateway_body_bytes_per_second_min: int = Field(default=1_024, ge=1, le=1_073_741_824)
    # Bodies that wait for the one that is read beside the event loop, as those above 128 KiB are; one more is 503.
    gateway_large_bodies_max: int = Field(default=16, ge=1, le=10_000)
    # How long a call may take when the client sets no Grpc-Timeout, and at most when it does; then it is 504.
    gateway_timeout_seconds: float = Field(default=10.0, gt=0, le=3_600)
    gateway_timeout_seconds_max: float = Field(default=60.0, gt=0, le=3_600)
    # The largest answer of the service, in bytes of Protobuf.
    gateway_answer_bytes_max: int = Field(default=16_777_216, ge=1_024, le=268_435_456)
    # Requests in work at once, which are those whose body is there; one more is 503.
    gateway_concurrency_max: int = Field(default=256, ge=1, le=100_000)
    # The part of these and of the next that one client may have. A client is the address that connects; behind a proxy
    # of a trusted network the last one of X-Forwarded-For, and without that header the limits of one do not apply.
    gateway_client_ratio_max: float = Field(default=0.5, gt=0, le=1)
    # Bytes of bodies and messages in memory at once, also of those that are still arriving; more are 503.
    gateway_bytes_in_flight_max: int = Field(default=268_435_456, ge=1_024, le=68_719_476_736)
    # Open connections; at the limit the one that was silent for longest is closed. Descriptors are raised to as many.
    gateway_connections_max: int = Field(default=4_096, ge=1, le=1_000_000)
    # How long a client may take to send the head of a request; then the connection is closed.
    gateway_head_seconds_max: float = Field(default=10.0, gt=0, le=3_600)
    # What a client is told to wait after a 429 or 503 for which the service names no delay.
    gateway_retry_seconds: int = Field(default=1, ge=1, le=3_600)
    # The longest pause between two attempts to reach the service again, and the limit of a readiness check.
    gateway_reconnect_seconds_max: float = Field(default=1.0, ge=0.1, le=60)
    gateway_ready_seconds_max: float = Field(default=1.0, gt=0, le=60)
    # In each period of this length a client must take 16 KiB of its answer, or the rest; else its connection is cut.
    gateway_answer_seconds_max: float = Field(default=30.0, gt=0, le=3_600)
    # An idle connection is closed after this.
    gateway_keepalive_seconds: float = Field(default=75.0, ge=0, le=3_600)
    # Origins whose scripts may call us from a browser, with commas between them; none by default.
    gateway_cors_origins: Origins = ()
    # How long a browser may remember the answer to a preflight.
    gateway_cors_seconds_max: int = Field(default=7_200, ge=0, le=86_400)
    # Networks of the proxies in front of us, whose X-Forwarded-* headers are believed.
    gateway_trusted_networks: Networks = LOOPBACK
    # Whether /api/demo shows a page that sends events as a player does, for trying the system out.
    gateway_demo: bool = False
    # After SIGTERM: time for balancers to see 503 on /readyz, then time for requests in work to end.
    gateway_drain_seconds: float = Field(default=0.5, ge=0, le=60)
    gateway_stop_seconds_max: float = Field(default=10.0, ge=0, le=300)

    @field_validator("gateway_bytes_in_flight_max")
    @classmethod
    def _holds_a_body(cls, bytes_max: int, info: ValidationInfo) -> int:
        """Refuse a limit that a single body, though small enough, would never pass."""
        body_bytes_max = info.data.get("gateway_body_bytes_max", 0)
        if bytes_max * info.data.get("gateway_client_ratio_max", 1) < body_bytes_max:
            raise ValueError(f"one client's part of it must hold a body of {body_bytes_max} bytes")
        return bytes_max
