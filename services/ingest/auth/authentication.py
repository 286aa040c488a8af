"""Who calls: the bearer token (a JWT, RFC 7519) of a request, checked with known keys; the verdict is kept for a while.

Only tokens found good are kept, by their digest: a flood of bad ones pushes nobody's verdict out.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

import jwt

from services.ingest.auth.claims import TokenRules, UnauthenticatedError, check_claims
from services.ingest.auth.keys import Keys

SCHEME = "bearer"
AUTHORIZATION_CHARACTERS_MAX = 8_192
PRINTABLE = re.compile(r"[ -~]*", re.ASCII)
REASONS: dict[type[Exception], str] = {
    jwt.InvalidAlgorithmError: "the token's algorithm is not the one of the key",
    jwt.InvalidSignatureError: "the token's signature is not by the key",
}
UNREADABLE = "the token cannot be read as a JWT"
# What a hostile token makes a parser raise.
PARSER_ERRORS = (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError)


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
        self._signatures = jwt.PyJWS()
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
        except PARSER_ERRORS as error:
            raise UnauthenticatedError(REASONS.get(type(error), UNREADABLE)) from error
        ends = check_claims(claims, self._rules, time.time())
        return Verdict(str(claims["sub"]).lower() if self._rules.subject_is_user else None, ends)

    def _claims(self, token: bytes) -> dict[str, object]:
        """Return the claims of a token that is signed by a known key."""
        header = self._signatures.get_unverified_header(token)
        key = self._keys.find(header.get("kid"), header.get("alg"))
        if key is None:
            raise UnauthenticatedError("the token names no key in use (kid)")
        # The key's algorithm, not the token's: `none`, and HS256 by a public key, are refused here.
        payload = self._signatures.decode(token, key.material, algorithms=[key.algorithm])
        claims = json.loads(payload)
        if not isinstance(claims, dict):
            raise UnauthenticatedError(UNREADABLE)
        return claims


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
