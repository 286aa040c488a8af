"""Who calls: the bearer token (a JWT, RFC 7519) of a request, checked with our keys; the verdict is kept for a while.

Only tokens found good are kept, by their digest: a flood of bad ones pushes nobody's verdict out.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jwt

from services.ingest.keys import Keys

SCHEME = "bearer"
AUTHORIZATION_CHARACTERS_MAX = 8_192
PRINTABLE = re.compile(r"[ -~]*", re.ASCII)
REASONS: dict[type[Exception], str] = {
    jwt.ExpiredSignatureError: "the token has expired",
    jwt.ImmatureSignatureError: "the token is not valid yet",
    jwt.InvalidAudienceError: "the token is for another audience",
    jwt.InvalidIssuerError: "the token is of another issuer",
    jwt.InvalidAlgorithmError: "the token's algorithm is not the one of the key",
    jwt.InvalidSignatureError: "the token's signature is not by the key",
}
# What a hostile token makes a parser raise.
UNREADABLE = (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError)


class UnauthenticatedError(Exception):
    """The caller has no token that we trust; the text is for the caller and holds nothing of the token."""


@dataclass(frozen=True)
class TokenRules:
    """What a token must say, besides being signed by a key of ours and having an end."""

    audience: str | None = None
    issuer: str | None = None
    # The token's `sub` is the one user whose events its bearer may send.
    subject_is_user: bool = False
    # How far the clocks of issuer and server may be apart.
    leeway_seconds: float = 0.0


class Verdict(NamedTuple):
    """What a good token gives, and until when."""

    user: str | None
    expires_at: float


class Authenticator:
    """Checks tokens; one serves a process."""

    def __init__(self, keys: Keys, rules: TokenRules, cache_tokens_max: int) -> None:
        self._keys = keys
        self._rules = rules
        self._cache_tokens_max = cache_tokens_max
        self._known: OrderedDict[bytes, Verdict] = OrderedDict()

    def user_bound(self, authorizations: Sequence[str | bytes]) -> str | None:
        """Return the user that the caller is bound to, in lower case, or None; UnauthenticatedError for a stranger.

        `authorizations` are all values of that name that the caller has sent.
        """
        token = bearer_token(authorizations)
        digest = hashlib.sha256(token).digest()
        verdict = self._known.get(digest)
        if verdict is None or verdict.expires_at <= time.time():
            verdict = self._known[digest] = self._verify(token)
            if len(self._known) > self._cache_tokens_max:
                self._known.popitem(last=False)
        self._known.move_to_end(digest)
        return verdict.user

    def _verify(self, token: bytes) -> Verdict:
        try:
            claims = self._claims(token)
            expires_at = float(claims["exp"]) + self._rules.leeway_seconds
        except UNREADABLE as error:
            raise UnauthenticatedError(reason_of(error)) from error
        return Verdict(claims["sub"].lower() if self._rules.subject_is_user else None, expires_at)

    def _claims(self, token: bytes) -> dict[str, Any]:
        """Return the claims of a token by a key of ours."""
        key = self._keys.find(jwt.get_unverified_header(token).get("kid"))
        if key is None:
            raise UnauthenticatedError("the token names no key of ours (kid)")
        rules = self._rules
        needed = ["exp", *(["sub"] if rules.subject_is_user else [])]
        return jwt.decode(
            token,
            key.material,
            # The key's algorithm, not the token's: `none`, and HS256 by a public key, are refused here.
            algorithms=[key.algorithm],
            audience=rules.audience,
            issuer=rules.issuer,
            leeway=rules.leeway_seconds,
            options={"require": needed, "verify_aud": rules.audience is not None},
        )


def bearer_token(authorizations: Sequence[str | bytes]) -> bytes:
    """Return the token of the only Authorization header: of several, two servers might each choose another."""
    if not any(authorizations):
        raise UnauthenticatedError("a bearer token is required (authorization: Bearer ...)")
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


def reason_of(error: Exception) -> str:
    """Say why a token was refused; what a stranger's bytes did to a parser is nobody's business."""
    if isinstance(error, jwt.MissingRequiredClaimError):
        return f"the token has no {error.claim}"
    return REASONS.get(type(error), "the token cannot be read as a JWT")
