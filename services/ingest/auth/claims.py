"""What a token claims (RFC 7519, 4.1), checked so that a refusal names the claim and what is wrong with it. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

# A token without an end would be good after its bearer has left.
ALWAYS_REQUIRED = ("exp",)


class UnauthenticatedError(Exception):
    """The caller has no token that can be trusted; the text is for the caller and holds nothing of the token."""


@dataclass(frozen=True)
class TokenRules:
    """What a token must claim, besides being signed by a known key and having an end."""

    audience: str | None = None
    issuer: str | None = None
    # The token's `sub` is the one user whose events its bearer may send.
    subject_is_user: bool = False
    # How far the clocks of issuer and server may be apart.
    leeway_seconds: float = 0.0


def check_claims(claims: Mapping[str, object], rules: TokenRules, now: float) -> float:
    """Return when a token ends, leeway included, in Unix seconds; UnauthenticatedError names the wrong claim."""
    required = {"aud": rules.audience is not None, "iss": rules.issuer is not None, "sub": rules.subject_is_user}
    for name in (*ALWAYS_REQUIRED, *(name for name, needed in required.items() if needed)):
        if claims.get(name) is None:
            raise UnauthenticatedError(f"the token has no {name}")
    ends = seconds(claims, "exp") + rules.leeway_seconds
    if ends <= now:
        raise UnauthenticatedError("the token has expired (exp)")
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
    return ends


def seconds(claims: Mapping[str, object], name: str) -> float:
    """Return a time among the claims."""
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
    """Return whom a token is for."""
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise UnauthenticatedError("the token's aud must be a text or a list of texts")
    return found
