"""Authenticator: which tokens are valid, and that a key is used with one algorithm only."""

from __future__ import annotations

import base64
import random
import time
from typing import Any

import jwt
import pytest

from services.ingest.auth.authentication import Authenticator
from services.ingest.auth.claims import TokenRules, UnauthenticatedError
from services.ingest.auth.keys import KeySet, read_key_set, read_public_key, read_secret
from tests.support.inputs.tokens import (
    DAY_SECONDS,
    OTHER_SECRET,
    SECRET,
    USER,
    confused,
    ec_key,
    encoded,
    jwks,
    part,
    public_pem,
    rsa_key,
    signed,
    unsigned,
)

BOUND = TokenRules(subject_is_user=True)
MUTATIONS = 2_000
DEEP = 4_000


def user_of(token: str, keys: KeySet, rules: TokenRules = BOUND) -> str | None:
    """Authenticate a token with a new authenticator."""
    return Authenticator(keys, rules, 10).authenticate([f"Bearer {token}"])


def rejection(authorization: str | None, keys: KeySet, rules: TokenRules = BOUND) -> str:
    """Return the reason for which an authorization is rejected."""
    with pytest.raises(UnauthenticatedError) as caught:
        Authenticator(keys, rules, 10).authenticate([] if authorization is None else [authorization])
    return str(caught.value)


@pytest.mark.parametrize(
    ("token", "keys"),
    [
        (signed(), read_secret(SECRET)),
        (signed(rsa_key(), "RS256"), read_public_key(public_pem(rsa_key()))),
        (signed(ec_key(), "ES256"), read_public_key(public_pem(ec_key()))),
        (signed(rsa_key(), "RS256"), read_key_set(jwks(("one", rsa_key())))),
        (signed(rsa_key(), "RS256", "r"), read_key_set(jwks(("e", ec_key()), ("r", rsa_key())))),
        (signed(ec_key(), "ES256", "e"), read_key_set(jwks(("e", ec_key()), ("r", rsa_key())))),
    ],
)
def test_valid_token(token: str, keys: KeySet) -> None:
    """A token signed with the key and the algorithm of its type is valid and names its user."""
    assert user_of(token, keys) == USER


def test_user_in_any_case() -> None:
    """A subject in upper case is the same user; without the rule a token is bound to no user and needs no subject."""
    assert user_of(signed(sub=USER.upper()), read_secret(SECRET)) == USER
    assert user_of(signed(sub=None), read_secret(SECRET), TokenRules()) is None


@pytest.mark.parametrize(
    ("authorization", "expected"),
    [
        (None, "is required"),
        ("", "is required"),
        ("Bearer", "must be a bearer token"),
        ("Bearer  ", "must be a bearer token"),
        (f"Basic {signed()}", "must be a bearer token"),
        (f"Bearer {signed()}{'x' * 8_192}", "at most 8192 characters"),
        (f"Bearer {signed()}\n", "printable ASCII"),
        (f"Bearer\0{signed()}", "printable ASCII"),
        (f"Bearer \u00ff{signed()}", "printable ASCII"),
        ("Bearer x", "cannot be read"),
        ("Bearer a.b.c", "cannot be read"),
        (f"Bearer {signed()}x.y", "cannot be read"),
        (f"Bearer {signed(exp=1)}", "has expired (exp)"),
        (f"Bearer {signed(exp=int(time.time()) - 60)}", "has expired"),
        (f"Bearer {signed(nbf=int(time.time()) + DAY_SECONDS)}", "not valid yet (nbf)"),
        (f"Bearer {signed(iat=int(time.time()) + DAY_SECONDS)}", "issued in the future (iat)"),
        (f"Bearer {signed(OTHER_SECRET)}", "signature is not by the key"),
        (f"Bearer {signed(exp=None)}", "has no exp"),
        (f"Bearer {signed(sub=None)}", "has no sub"),
        (f"Bearer {signed(SECRET * 2, 'HS512')}", "algorithm is not the one of the key"),
        (f"Bearer {signed(rsa_key(), 'RS256')}", "algorithm is not the one of the key"),
        (f"Bearer {unsigned()}", "algorithm is not the one of the key"),
    ],
)
def test_invalid_token(authorization: str | None, expected: str) -> None:
    """An invalid token is rejected with the reason."""
    assert expected in rejection(authorization, read_secret(SECRET))


@pytest.mark.parametrize("others", [[f"Bearer {signed()}"], ["Bearer x"], [""], [b"\xff"], ["Basic eDp5"]])
def test_one_authorization(others: list[str | bytes]) -> None:
    """Several values are rejected, equal ones too, because servers differ in which of them they use."""
    checks = Authenticator(read_secret(SECRET), BOUND, 10)

    for several in ([*others, f"Bearer {signed()}"], [f"Bearer {signed()}", *others]):
        with pytest.raises(UnauthenticatedError, match="must be one authorization, not 2"):
            checks.authenticate(several)


def test_authorization_of_bytes() -> None:
    """A value that gRPC could not decode as text is not a valid token."""
    with pytest.raises(UnauthenticatedError, match="printable ASCII"):
        Authenticator(read_secret(SECRET), BOUND, 10).authenticate([f"Bearer {signed()}".encode()])


@pytest.mark.parametrize("pem", [public_pem(rsa_key()), public_pem(ec_key())])
def test_algorithm_confusion(pem: str) -> None:
    """A public key is not accepted as an HS256 secret, and a token without a signature is rejected."""
    for keys in (read_public_key(pem), read_key_set(jwks(("r", rsa_key()), ("e", ec_key())))):
        assert "Bearer" not in rejection(f"Bearer {confused(pem)}", keys)
        rejection(f"Bearer {unsigned()}", keys)
        rejection(f"Bearer {unsigned(kid='r')}", keys)
        rejection(f"Bearer {signed()}", keys)


def test_wrong_key() -> None:
    """A token by another key of the same type, or with a `kid` that the JWKS lacks, is rejected."""
    several = read_key_set(jwks(("one", rsa_key()), ("two", rsa_key("two"))))

    assert "signature" in rejection(f"Bearer {signed(rsa_key('x'), 'RS256')}", read_public_key(public_pem(rsa_key())))
    assert "signature" in rejection(f"Bearer {signed(rsa_key(), 'RS256', 'two')}", several)
    assert "names no key" in rejection(f"Bearer {signed(rsa_key(), 'RS256', 'three')}", several)
    assert "names no key" in rejection(f"Bearer {signed(rsa_key(), 'RS256')}", several)


def test_audience_and_issuer() -> None:
    """Audience and issuer are checked only if they are configured."""
    rules, keys = TokenRules(audience="ugc", issuer="auth"), read_secret(SECRET)

    assert user_of(signed(aud=["x", "ugc"], iss="auth"), keys, rules) is None
    assert user_of(signed(aud="other", iss="other"), keys, TokenRules()) is None
    assert "another audience" in rejection(f"Bearer {signed(aud='x', iss='auth')}", keys, rules)
    assert "another issuer" in rejection(f"Bearer {signed(aud='ugc', iss='x')}", keys, rules)
    assert "has no aud" in rejection(f"Bearer {signed(iss='auth')}", keys, rules)
    assert "has no iss" in rejection(f"Bearer {signed(aud='ugc')}", keys, rules)


def test_clock_skew() -> None:
    """The configured leeway is tolerated."""
    rules = TokenRules(leeway_seconds=100)

    assert user_of(signed(exp=int(time.time()) - 50), read_secret(SECRET), rules) is None
    assert user_of(signed(nbf=int(time.time()) + 50), read_secret(SECRET), rules) is None
    assert "expired" in rejection(f"Bearer {signed(exp=int(time.time()) - 150)}", read_secret(SECRET), rules)


def test_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token is verified once until it expires; at the limit the least recently used one is evicted."""
    verified: list[bytes] = []
    decode = jwt.PyJWS.decode

    def counting(self: jwt.PyJWS, token: bytes, *given: Any, **named: Any) -> Any:
        verified.append(token)
        return decode(self, token, *given, **named)

    monkeypatch.setattr(jwt.PyJWS, "decode", counting)
    checks = Authenticator(read_secret(SECRET), BOUND, cache_tokens_max=2)
    tokens = [signed(jti=str(number)) for number in range(3)]
    for number in (0, 0, 1, 0, 2, 0, 1):
        checks.authenticate([f"Bearer {tokens[number]}"])

    assert verified == [tokens[number].encode() for number in (0, 1, 2, 1)]
    # It has expired by now.
    monkeypatch.setattr(time, "time", lambda: 2**33)
    with pytest.raises(UnauthenticatedError, match=r"has expired \(exp\)"):
        checks.authenticate([f"Bearer {tokens[1]}"])
    assert len(verified) == 5


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "HS256", "kid": ["x"]},
        {"alg": ["HS256"]},
        {"alg": "HS256", "crit": ["x"], "x": 1},
        {"alg": "HS256", "b64": False, "crit": ["b64"]},
        {},
    ],
)
def test_odd_headers(header: dict[str, object]) -> None:
    """Malformed token headers are rejected, whatever exception they raise in a parser."""
    rejection(f"Bearer {part(header)}.{part({'exp': 1})}.AAAA", read_secret(SECRET))


def test_hostile_bytes() -> None:
    """Deep nesting and 2,000 mutations of a valid token are rejected without any other exception (seed 4)."""
    chance, keys = random.Random(4), read_secret(SECRET)
    deep = encoded(b'{"alg":"HS256","x":' + b"[" * DEEP + b"]" * DEEP + b"}")
    rejection(f"Bearer {deep}.{deep}.AAAA", keys)
    good = signed()
    for _ in range(MUTATIONS):
        at = chance.randrange(len(good))
        bad = good[:at] + chance.choice("aZ09-_.= {\u044b") * chance.randrange(3) + good[at + 1 :]
        if decoded(bad) != decoded(good):
            rejection(f"Bearer {bad}", keys)


def decoded(token: str) -> list[bytes | str]:
    """Return the decoded parts of a token; the last character of base64 has bits without meaning."""
    try:
        return [base64.urlsafe_b64decode(each + "=" * (-len(each) % 4)) for each in token.split(".")]
    except ValueError:
        return [token]
