"""Settings of authentication: the keys that verify tokens, and what the tokens must claim."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from pydantic import BeforeValidator, Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import NoDecode

from common.settings import Documented, NeverEmpty, Settings
from services.ingest.auth.claims import TokenRules
from services.ingest.auth.keys import KeySet, read_file, read_key_set, read_public_key, read_secret

KEYS = ("ingest_auth_secret", "ingest_auth_key_file", "ingest_auth_jwks_file")
KEYS_NAMED = ", ".join(f"UGC_{name.upper()}" for name in KEYS)


def read_with(read: Callable[[str], KeySet]) -> BeforeValidator:
    """Return the validator that replaces the path of a file with the keys that `read` finds in its text."""

    def keys(path: object) -> KeySet | None:
        return None if path is None else read(read_file(str(path)))

    return BeforeValidator(keys)


KeyFile = Annotated[KeySet | None, NoDecode, NeverEmpty(), Documented("path"), read_with(read_public_key)]
KeySetFile = Annotated[KeySet | None, NoDecode, NeverEmpty(), Documented("path"), read_with(read_key_set)]


class AuthenticationSettings(Settings):
    """Authentication of callers; disabled until one of the three keys is set."""

    ingest_auth_secret: Annotated[SecretStr | None, NeverEmpty()] = None
    """Secret shared with the issuer of the tokens, at least 32 bytes; tokens must be signed with HS256."""

    ingest_auth_key_file: KeyFile = None
    """File with the issuer's public key as PEM, read once at start; tokens must be signed with RS256 (RSA) or ES256
    (P-256), according to the key."""

    ingest_auth_jwks_file: KeySetFile = None
    """File with the issuer's public keys as JWKS, read once at start; a token names its key by `kid`, and must be
    signed with RS256 or ES256. Keys that cannot be used are skipped with a warning."""

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

    @field_validator("ingest_auth_key_file", "ingest_auth_jwks_file")
    @classmethod
    def _only_key(cls, keys: KeySet | None, info: ValidationInfo) -> KeySet | None:
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

    @property
    def keys(self) -> KeySet | None:
        """The keys that verify tokens, None when authentication is disabled."""
        if self.ingest_auth_secret is not None:
            return read_secret(self.ingest_auth_secret.get_secret_value())
        return self.ingest_auth_key_file or self.ingest_auth_jwks_file

    @property
    def token_rules(self) -> TokenRules:
        """The claims that a token must have."""
        return TokenRules(
            audience=self.ingest_auth_audience,
            issuer=self.ingest_auth_issuer,
            subject_is_user=self.ingest_auth_subject_is_user,
            leeway_seconds=self.ingest_auth_leeway_seconds,
        )
