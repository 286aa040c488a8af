"""Claims of a token: which are required, and that an error names the invalid one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from services.ingest.auth.authentication import Authenticator
from services.ingest.auth.claims import TokenRules, UnauthenticatedError, check_claims
from services.ingest.auth.keys import read_secret
from tests.support.inputs.tokens import SECRET, USER, encoded, hs256

NOW = 1_700_000_000.0
END = NOW + 60
RULES = TokenRules(audience="ugc", issuer="auth", subject_is_user=True, leeway_seconds=10)
GOOD = {"exp": END, "aud": "ugc", "iss": "auth", "sub": USER}
NO_TIMES: list[object] = [
    "1700000060",
    "",
    True,
    False,
    [],
    {},
    [END],
    float("nan"),
    float("inf"),
    float("-inf"),
    10**400,
    -(10**400),
]
NO_AUDIENCES: list[object] = [1, True, {}, [1], ["ugc", 1]]
NO_TEXTS: list[object] = [1, 1.5, True, [], ["auth"], {}, {"a": "b"}]


def check(rules: TokenRules = RULES, **changes: object) -> float:
    """Check valid claims with changes; Ellipsis removes a claim."""
    claims = {name: value for name, value in (GOOD | changes).items() if value is not ...}
    return check_claims(claims, rules, NOW)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"exp": int(NOW)},
        {"exp": NOW - 9.5},
        {"exp": 2**40},
        {"aud": ["x", "ugc"]},
        {"nbf": NOW + 10, "iat": NOW + 10},
        {"nbf": 0, "iat": -1.5},
        {"jti": "x", "other": [1, {}]},
        {"sub": USER.upper()},
    ],
)
def test_valid(changes: dict[str, Any]) -> None:
    """Valid claims are accepted until their expiry plus the leeway."""
    assert check(**changes) == changes.get("exp", END) + 10


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"exp": ...}, "the token has no exp"),
        ({"exp": None}, "the token has no exp"),
        ({"aud": ...}, "the token has no aud"),
        ({"iss": None}, "the token has no iss"),
        ({"sub": ...}, "the token has no sub"),
        ({"exp": NOW - 10}, "the token has expired (exp)"),
        ({"exp": -1}, "the token has expired (exp)"),
        ({"nbf": NOW + 10.5}, "the token is not valid yet (nbf)"),
        ({"iat": NOW + 10.5}, "the token was issued in the future (iat)"),
        ({"aud": "UGC"}, "the token is for another audience (aud)"),
        ({"aud": []}, "the token is for another audience (aud)"),
        ({"aud": "ugc2"}, "the token is for another audience (aud)"),
        ({"iss": "auth/"}, "the token is of another issuer (iss)"),
        *[({"exp": value}, "the token's exp must be a number of seconds") for value in NO_TIMES],
        *[({"nbf": value}, "the token's nbf must be a number of seconds") for value in [*NO_TIMES, None]],
        *[({"iat": value}, "the token's iat must be a number of seconds") for value in [*NO_TIMES, None]],
        *[({"sub": value}, "the token's sub must be a text") for value in NO_TEXTS],
        *[({"iss": value}, "the token's iss must be a text") for value in NO_TEXTS],
        *[({"jti": value}, "the token's jti must be a text") for value in [*NO_TEXTS, None]],
        *[({"aud": value}, "the token's aud must be a text or a list of texts") for value in NO_AUDIENCES],
    ],
)
def test_invalid(changes: dict[str, Any], expected: str) -> None:
    """An invalid claim is named in the error, whether its value or its type is wrong."""
    with pytest.raises(UnauthenticatedError) as caught:
        check(**changes)

    assert str(caught.value) == expected


def test_unchecked_claims() -> None:
    """Without rules audience and issuer are not checked; a subject must still be a string."""
    assert check(TokenRules(), aud=1, iss=[], sub=...) == END
    with pytest.raises(UnauthenticatedError, match="sub must be a text"):
        check(TokenRules(), sub=1)


@pytest.mark.parametrize("payload", [b"", b"[]", b"1", b'"x"', b"null", b"{", b"\xff", b"[" * 5_000, b'{"exp": 1e999}'])
def test_signed_but_no_claims(payload: bytes) -> None:
    """A signed payload that is not an object of claims is rejected, and the error shows nothing of it."""
    body = f"{encoded(json.dumps({'alg': 'HS256'}).encode())}.{encoded(payload)}"
    checks: Any = Authenticator(read_secret(SECRET), TokenRules(), 10)

    with pytest.raises(UnauthenticatedError, match=r"cannot be read as a JWT|exp must be a number"):
        checks.authenticate([f"Bearer {body}.{hs256(SECRET, body)}"])
