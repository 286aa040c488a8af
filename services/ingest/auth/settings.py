"""Settings of authentication: the keys that verify tokens, and what the tokens must claim."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NamedTuple
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import NoDecode

from common.settings import Documented, NeverEmpty, Settings
from common.tls.files import TlsFiles
from common.tls.settings import TlsFile, require
from services.ingest.auth.claims import TokenRules
from services.ingest.auth.keys import KeySet, read_file, read_key_set, read_public_key, read_secret

KEYS = ("ingest_auth_secret", "ingest_auth_key_file", "ingest_auth_jwks_file", "ingest_auth_jwks_url")
KEYS_NAMED = ", ".join(f"UGC_{name.upper()}" for name in KEYS)


class FileOfKeys(NamedTuple):
    """A file with keys, how its text is read, and what it contained at the start."""

    path: Path
    read: Callable[[str], KeySet]
    keys: KeySet


def read_with(read: Callable[[str], KeySet]) -> BeforeValidator:
    """Return the validator that replaces the path of a file with the keys that `read` finds in its text."""

    def keys(path: object) -> FileOfKeys | None:
        return None if path is None else FileOfKeys(Path(str(path)), read, read(read_file(str(path))))

    return BeforeValidator(keys)


def check_url(url: str | None) -> str | None:
    """Return a URL from which keys may be fetched; ValueError when others could replace them on their way."""
    if url is None:
        return None
    parts = urlsplit(url)
    if parts.scheme not in ("https", "http") or not parts.hostname or parts.username is not None:
        raise ValueError("must be a URL as https://issuer.example/jwks.json, without a user")
    if parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
        raise ValueError("must begin with https://, except for a host that is this machine")
    return url


KeyFile = Annotated[FileOfKeys | None, NoDecode, NeverEmpty(), Documented("path"), read_with(read_public_key)]
KeySetFile = Annotated[FileOfKeys | None, NoDecode, NeverEmpty(), Documented("path"), read_with(read_key_set)]


class AuthenticationSettings(Settings):
    """Authentication of callers; disabled until one of the four keys is set."""

    ingest_auth_secret: Annotated[SecretStr | None, NeverEmpty()] = None
    """Secret shared with the issuer of the tokens, at least 32 bytes; tokens must be signed with HS256."""

    ingest_auth_key_file: KeyFile = None
    """File with the issuer's public key as PEM, read again when it changes; tokens must be signed with RS256 (RSA) or
    ES256 (P-256), according to the key."""

    ingest_auth_jwks_file: KeySetFile = None
    """File with the issuer's public keys as JWKS, read again when it changes; a token names its key by `kid`, and must
    be signed with RS256 or ES256. Keys that cannot be used are skipped with a warning."""

    ingest_auth_jwks_url: Annotated[
        str | None, NeverEmpty(), Documented("URL"), Field(max_length=2_048), AfterValidator(check_url)
    ] = None
    """URL of the issuer's public keys as JWKS, as `https://issuer.example/jwks.json`. Ingest begins to serve once it
    has fetched them; later failures keep the keys. At most 262,144 bytes within 5 seconds."""

    ingest_auth_jwks_ca_file: TlsFile = None
    """File with the certificates of the authorities, as PEM, that verify the server of UGC_INGEST_AUTH_JWKS_URL; those
    of the system by default."""

    ingest_auth_jwks_seconds: float = Field(default=300.0, ge=1, le=86_400)
    """Seconds between two fetches of UGC_INGEST_AUTH_JWKS_URL."""

    ingest_auth_jwks_seconds_min: float = Field(default=10.0, ge=0.1, le=3_600)
    """Seconds between two fetches when a token names a key that was not fetched yet, and after a failure. Such a token
    is answered with UNAVAILABLE until the next fetch."""

    ingest_auth_audience: Annotated[str | None, NeverEmpty()] = None
    """Value that a token's `aud` must contain; `aud` is not checked while this is unset."""

    ingest_auth_issuer: Annotated[str | None, NeverEmpty()] = None
    """Value that a token's `iss` must have; `iss` is not checked while this is unset."""

    ingest_auth_subject_is_user: bool = False
    """Whether a token's `sub` must equal the `user_id` of every event sent with it; other events are rejected with
    PERMISSION_DENIED."""

    ingest_auth_leeway_seconds: float = Field(default=30.0, ge=0, le=300)
    """Clock difference in seconds that is tolerated between the issuer and ingest when `exp`, `nbf` and `iat` are
    checked."""

    ingest_auth_cache_tokens_max: int = Field(default=10_000, ge=1, le=1_000_000)
    """Verified tokens that are cached until they expire, about 200 bytes each; the least recently used is evicted."""

    @field_validator("ingest_auth_secret")
    @classmethod
    def _long_enough(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None:
            read_secret(secret.get_secret_value())
        return secret

    @field_validator("ingest_auth_key_file", "ingest_auth_jwks_file", "ingest_auth_jwks_url")
    @classmethod
    def _only_key(cls, keys: FileOfKeys | str | None, info: ValidationInfo) -> FileOfKeys | str | None:
        if keys is not None and any(info.data.get(name) is not None for name in KEYS):
            raise ValueError(f"give only one of {KEYS_NAMED}")
        return keys

    @field_validator("ingest_auth_audience", "ingest_auth_issuer", "ingest_auth_subject_is_user")
    @classmethod
    def _needs_a_key(cls, rule: object, info: ValidationInfo) -> object:
        """Reject a rule that has no effect: without a key no token is checked."""
        if rule and all(info.data.get(name) is None for name in KEYS):
            raise ValueError(f"needs one of {KEYS_NAMED}")
        return rule

    @field_validator("ingest_auth_jwks_ca_file")
    @classmethod
    def _authorities(cls, path: Path | None, info: ValidationInfo) -> Path | None:
        if path is not None:
            require(info, "ingest_auth_jwks_url")
            TlsFiles(None, None, path).read()
        return path

    @property
    def is_authenticated(self) -> bool:
        """Whether callers must have a token."""
        return self.keys is not None or self.ingest_auth_jwks_url is not None

    @property
    def file_of_keys(self) -> FileOfKeys | None:
        """The file with the keys, None when they are not in a file."""
        return self.ingest_auth_key_file or self.ingest_auth_jwks_file

    @property
    def keys(self) -> KeySet | None:
        """The keys that verify tokens at the start, None when authentication is disabled or they must be fetched."""
        if self.ingest_auth_secret is not None:
            return read_secret(self.ingest_auth_secret.get_secret_value())
        return self.file_of_keys.keys if self.file_of_keys is not None else None

    @property
    def token_rules(self) -> TokenRules:
        """The claims that a token must have."""
        return TokenRules(
            audience=self.ingest_auth_audience,
            issuer=self.ingest_auth_issuer,
            subject_is_user=self.ingest_auth_subject_is_user,
            leeway_seconds=self.ingest_auth_leeway_seconds,
        )
