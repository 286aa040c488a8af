"""Settings of ingest, each a UGC_* variable with its unit last; DESIGN's names first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from pydantic import BeforeValidator, Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import NoDecode

from common.failpoints import FailpointSettings
from common.settings import Address, AddressSetting, KafkaSettings, LogSettings, NeverEmpty, Settings
from common.watchdog import WatchdogSettings
from services.ingest.auth.claims import TokenRules
from services.ingest.auth.keys import Keys, read_file, read_key_set, read_public_key, read_secret

KEYS = ("ingest_auth_secret", "ingest_auth_key_file", "ingest_auth_jwks_file")
KEYS_NAMED = ", ".join(f"UGC_{name.upper()}" for name in KEYS)


def read_with(read: Callable[[str], Keys]) -> BeforeValidator:
    """Return what turns a setting that names a file into the keys of the file."""

    def keys(path: object) -> Keys | None:
        return None if path is None else read(read_file(str(path)))

    return BeforeValidator(keys)


KeyFile = Annotated[Keys | None, NoDecode, NeverEmpty(), read_with(read_public_key)]
KeySetFile = Annotated[Keys | None, NoDecode, NeverEmpty(), read_with(read_key_set)]


class AuthenticationSettings(Settings):
    """Who may call. Off until one of the three keys is given; key files are read once, at start."""

    # A secret shared with the issuer of the tokens, at least 32 bytes: HS256.
    ingest_auth_secret: Annotated[SecretStr | None, NeverEmpty()] = None
    # The file of the issuer's public key as PEM: RS256 or ES256, as the key is.
    ingest_auth_key_file: KeyFile = None
    # The file of the issuer's keys as JWKS: RS256 or ES256; a token names its key by `kid`. Others are left out.
    ingest_auth_jwks_file: KeySetFile = None
    # What a token's `aud` must have and its `iss` must be; not looked at when not given.
    ingest_auth_audience: str | None = None
    ingest_auth_issuer: str | None = None
    # Whether a token's `sub` must be the user_id of every event that is sent with it.
    ingest_auth_subject_is_user: bool = False
    # How far the clocks of issuer and ingest may be apart.
    ingest_auth_leeway_seconds: float = Field(default=30.0, ge=0, le=300)
    # Tokens whose verdict is remembered until they expire, about 200 bytes each.
    ingest_auth_cache_tokens_max: int = Field(default=10_000, ge=1, le=1_000_000)

    @field_validator("ingest_auth_secret")
    @classmethod
    def _long_enough(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None:
            read_secret(secret.get_secret_value())
        return secret

    @field_validator("ingest_auth_key_file", "ingest_auth_jwks_file")
    @classmethod
    def _alone(cls, keys: Keys | None, info: ValidationInfo) -> Keys | None:
        if keys is not None and any(info.data.get(name) is not None for name in KEYS):
            raise ValueError(f"give only one of {KEYS_NAMED}")
        return keys

    @field_validator("ingest_auth_audience", "ingest_auth_issuer", "ingest_auth_subject_is_user")
    @classmethod
    def _with_a_key(cls, rule: object, info: ValidationInfo) -> object:
        """Refuse a rule that would guard nothing: without a key everybody may call."""
        if rule and all(info.data.get(name) is None for name in KEYS):
            raise ValueError(f"needs one of {KEYS_NAMED}")
        return rule

    @property
    def keys(self) -> Keys | None:
        """The keys to check tokens with, None when anybody may call."""
        if self.ingest_auth_secret is not None:
            return read_secret(self.ingest_auth_secret.get_secret_value())
        return self.ingest_auth_key_file or self.ingest_auth_jwks_file

    @property
    def token_rules(self) -> TokenRules:
        """What a token must say."""
        return TokenRules(
            audience=self.ingest_auth_audience,
            issuer=self.ingest_auth_issuer,
            subject_is_user=self.ingest_auth_subject_is_user,
            leeway_seconds=self.ingest_auth_leeway_seconds,
        )


class IngestSettings(KafkaSettings, LogSettings, AuthenticationSettings, FailpointSettings, WatchdogSettings):
    """What an operator can choose about the gRPC server and its producer."""

    ingest_listen: AddressSetting = Address("0.0.0.0", 50051)  # noqa: S104 -- a server for other hosts
    # The largest request, in bytes of Protobuf; a larger one is RESOURCE_EXHAUSTED.
    ingest_request_bytes_max: int = Field(default=8_388_608, ge=65_536, le=268_435_456)
    # Whether compressed requests are accepted; otherwise they are UNIMPLEMENTED. gRPC expands a request before anybody
    # can judge it: 16 kB may become the largest request, at 250 MB of memory. For trusted callers alone.
    ingest_compression: bool = False
    # The largest event, in bytes of Protobuf. Kafka takes messages of 1 MB by default.
    ingest_event_bytes_max: int = Field(default=65_536, ge=1_024, le=900_000)
    # Requests in work at once and their bytes; one more is RESOURCE_EXHAUSTED with a delay. A connection that is alone
    # may hold 72 % of them, several less; a tenth is kept for those that hold next to nothing. As many bytes again may
    # be of messages that are just arriving, and of those that take long. With the other defaults the process needs at
    # most three times the bytes and 512 MiB, and 64 KiB for each call that waits for its message to be read.
    ingest_requests_max: int = Field(default=1_000, ge=1, le=100_000)
    ingest_bytes_in_flight_max: int = Field(default=134_217_728, ge=65_536, le=68_719_476_736)
    # How long a call may wait for its message before it is DEADLINE_EXCEEDED.
    ingest_message_seconds_max: float = Field(default=10.0, ge=0.5, le=300)
    # Calls at once on one connection. Above it gRPC itself refuses, UNAVAILABLE without a delay, where a client has not
    # seen the limit yet; so this is the last limit that a client meets, not the first.
    ingest_streams_max: int = Field(default=4_096, ge=1, le=100_000)
    # Open connections; one more is closed at once. Each is a file descriptor.
    ingest_connections_max: int = Field(default=10_000, ge=1, le=1_000_000)
    # Connections without a call, and all after some time, are asked to end (GOAWAY): clients connect anew by
    # themselves, to another replica perhaps. Calls in work have the grace to end.
    ingest_connection_idle_seconds_max: float = Field(default=300.0, ge=0.1, le=86_400)
    ingest_connection_age_seconds_max: float = Field(default=1_800.0, ge=0.1, le=86_400)
    ingest_connection_grace_seconds: float = Field(default=60.0, ge=0.1, le=3_600)
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
    # Whether RandomBatchProduce makes events out of nothing; for development only.
    ingest_debug: bool = False

    @field_validator("ingest_bytes_in_flight_max")
    @classmethod
    def _holds_a_request(cls, bytes_max: int, info: ValidationInfo) -> int:
        """Refuse a budget in which a request that is allowed never finds room."""
        request_bytes_max = info.data.get("ingest_request_bytes_max", 0)
        if bytes_max < request_bytes_max:
            raise ValueError(f"must be at least UGC_INGEST_REQUEST_BYTES_MAX ({request_bytes_max})")
        return bytes_max
