"""Validates the claims of a token (RFC 7519, 4.1); an error names the claim and its problem. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

# A token without expiry could not be revoked.
ALWAYS_REQUIRED = ("exp",)


class UnauthenticatedError(Exception):
    """The caller has no valid token; the text is for the caller and contains nothing of the token."""

    verdict = "invalid"
    # Whether the same token may be valid in a moment.
    is_temporary = False


class MissingTokenError(UnauthenticatedError):
    """The caller has no token."""

    verdict = "missing"


class ExpiredTokenError(UnauthenticatedError):
    """The caller's token has expired."""

    verdict = "expired"


class UnknownKeyError(UnauthenticatedError):
    """The key that the caller's token names may be found soon: the caller should send again."""

    is_temporary = True


VALID = "valid"
VERDICTS = (VALID, *(each.verdict for each in (MissingTokenError, ExpiredTokenError, UnauthenticatedError)))


@dataclass(frozen=True)
class TokenRules:
    """Claims that a token must have, besides its expiry."""

    audience: str | None = None
    issuer: str | None = None
    # Whether a caller may send only the events of the user in the token's `sub`.
    subject_is_user: bool = False
    # Tolerated difference between the clocks of issuer and server.
    leeway_seconds: float = 0.0


def check_claims(claims: Mapping[str, object], rules: TokenRules, now: float) -> float:
    """Return the expiry of a token in Unix seconds with the leeway; raise UnauthenticatedError for an invalid claim."""
    required = {"aud": rules.audience is not None, "iss": rules.issuer is not None, "sub": rules.subject_is_user}
    for name in (*ALWAYS_REQUIRED, *(name for name, needed in required.items() if needed)):
        if claims.get(name) is None:
            raise UnauthenticatedError(f"the token has no {name}")
    expires_at = seconds(claims, "exp") + rules.leeway_seconds
    if expires_at <= now:
        raise ExpiredTokenError("the token has expired (exp)")
    if "nbf" in claims and seconds(claims, "nbf") > now + rules.leeway_seconds:
        raise UnauthenticatedError("the token is not valid yet (nbf)")
    if "iat" in claims and seconds(claims, "iat") > now + rules.leeway_seconds:
        raise UnauthenticatedError("the token was issued in the future (iat)")
    for name in ("sub", "jti", *(["iss"] if rules.issuer else [])):
        if name in claims and not isinstance(claims[name], str):
            raise UnauthenticatedError(f"the token's {name} must be a text")
    if rules.audience is not None and rules.audience not in audiences(claims["aud"]):
        raise UnauthenticatedError("the token is for another audience (aud)")
    if rules.issuer is not None and claims["iss"] != rules.issuer:
        raise UnauthenticatedError("the token is of another issuer (iss)")
    return expires_at


def seconds(claims: Mapping[str, object], name: str) -> float:
    """Return a claim that is a time, in Unix seconds."""
    value = claims[name]
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isfinite(number):
            return number
    raise UnauthenticatedError(f"the token's {name} must be a number of seconds")


def audiences(value: object) -> list[str]:
    """Return the audiences in the claim `aud`."""
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise UnauthenticatedError("the token's aud must be a text or a list of texts")
    return found
