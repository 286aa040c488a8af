"""Authenticates callers by their bearer token (a JWT, RFC 7519), and caches verified tokens by their digest.

Only valid tokens are cached, so a flood of invalid ones evicts nothing.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jwt

from services.ingest.auth.claims import (
    MissingTokenError,
    TokenRules,
    UnauthenticatedError,
    UnknownKeyError,
    check_claims,
)
from services.ingest.auth.keys import KeySet

SCHEME = "bearer"
AUTHORIZATION_CHARACTERS_MAX = 8_192
# Of the name of a caller.
CALLER_CHARACTERS_MAX = 128
PRINTABLE = re.compile(r"[ -~]*", re.ASCII)
REASONS: dict[type[Exception], str] = {
    jwt.InvalidAlgorithmError: "the token's algorithm is not the one of the key",
    jwt.InvalidSignatureError: "the token's signature is not by the key",
}
UNREADABLE = "the token cannot be read as a JWT"
# Exceptions that parsers raise for malformed tokens.
PARSER_ERRORS = (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError)


class VerifiedToken(NamedTuple):
    """What is used of a valid token."""

    # The user that it is bound to, in lower case, None if to none.
    user: str | None
    # In Unix seconds.
    expires_at: float
    # Whom the limits count: its subject, or else the client that it was issued to; empty without either.
    caller: str


class Authenticator:
    """Verifies tokens; one instance serves a process."""

    def __init__(self, keys: KeySet, rules: TokenRules, cache_tokens_max: int) -> None:
        self._keys = keys
        self._rules = rules
        self._cache_tokens_max = cache_tokens_max
        self._signatures = jwt.PyJWS()
        self._verified: OrderedDict[bytes, VerifiedToken] = OrderedDict()
        # Returns whether a key by a name may be found in a moment.
        self.look_up: Callable[[str], bool] = lambda _name: False

    def replace(self, keys: KeySet) -> bool:
        """Verify by other keys from now on, also the tokens that were verified before; False if they are the same."""
        if keys == self._keys:
            return False
        self._keys = keys
        self._verified.clear()
        return True

    def authenticate(self, authorizations: Sequence[str | bytes]) -> str | None:
        """Return the user that the caller's token is bound to, in lower case, None if to none; see `verify`."""
        return self.verify(authorizations).user

    def verify(self, authorizations: Sequence[str | bytes]) -> VerifiedToken:
        """Return what is used of the caller's token.

        `authorizations` are all Authorization values of the call. Raise UnauthenticatedError if the token is not valid.
        """
        token = bearer_token(authorizations)
        digest = hashlib.sha256(token).digest()
        verified = self._verified.get(digest)
        if verified is None or verified.expires_at <= time.time():
            verified = self._verified[digest] = self._verify(token)
            if len(self._verified) > self._cache_tokens_max:
                self._verified.popitem(last=False)
        self._verified.move_to_end(digest)
        return verified

    def _verify(self, token: bytes) -> VerifiedToken:
        try:
            claims = self._claims(token)
        except PARSER_ERRORS as error:
            raise UnauthenticatedError(REASONS.get(type(error), UNREADABLE)) from error
        expires_at = check_claims(claims, self._rules, time.time())
        user = str(claims["sub"]).lower() if self._rules.subject_is_user else None
        return VerifiedToken(user, expires_at, caller_of(claims))

    def _claims(self, token: bytes) -> dict[str, object]:
        """Return the claims of a token after verifying its signature."""
        header = self._signatures.get_unverified_header(token)
        name = header.get("kid")
        if isinstance(name, str) and not self._keys.has(name) and self.look_up(name):
            raise UnknownKeyError("the token's key (kid) is being looked up, retry later")
        key = self._keys.find(name, header.get("alg"))
        if key is None:
            raise UnauthenticatedError("the token names no key in use (kid)")
        # The algorithm is the key's, not the token's, which rejects `none` and HS256 with a public key as the secret.
        payload = self._signatures.decode(token, key.material, algorithms=[key.algorithm])
        claims = json.loads(payload)
        if not isinstance(claims, dict):
            raise UnauthenticatedError(UNREADABLE)
        return claims


def caller_of(claims: Mapping[str, object]) -> str:
    """Return whom the limits count for a token; an empty text if it names nobody."""
    for name in ("sub", "azp"):
        value = claims.get(name)
        if value and isinstance(value, str):
            return f"{name}:{value[:CALLER_CHARACTERS_MAX]}"
    return ""


def bearer_token(authorizations: Sequence[str | bytes]) -> bytes:
    """Return the bearer token; several Authorization values are rejected, as servers differ in which one they use."""
    if not any(authorizations):
        raise MissingTokenError("a bearer token is required (authorization: Bearer ...)")
    if len(authorizations) > 1:
        raise UnauthenticatedError(f"there must be one authorization, not {len(authorizations)}")
    (authorization,) = authorizations
    if len(authorization) > AUTHORIZATION_CHARACTERS_MAX:
        limit = AUTHORIZATION_CHARACTERS_MAX
        raise UnauthenticatedError(f"the authorization must be at most {limit} characters, not {len(authorization)}")
    if not isinstance(authorization, str) or not PRINTABLE.fullmatch(authorization):
        raise UnauthenticatedError("the authorization must be printable ASCII")
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != SCHEME or not token.strip():
        raise UnauthenticatedError("the authorization must be a bearer token (authorization: Bearer ...)")
    return token.strip().encode()
