"""Keys: which keys of the settings are accepted, rejected or skipped."""

from __future__ import annotations

import json

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from services.ingest.auth.authentication import Authenticator
from services.ingest.auth.claims import TokenRules, UnauthenticatedError
from services.ingest.auth.keys import KeySet, read_key_set, read_public_key, read_secret
from tests.support.inputs.tokens import described, ec_key, private_pem, public_pem, rsa_key, signed

ED25519 = {"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": "ed", "x": "A" * 43}


def trusted(keys: KeySet, token: str) -> bool:
    """Return whether a token is valid with these keys."""
    try:
        Authenticator(keys, TokenRules(), 10).authenticate([f"Bearer {token}"])
    except UnauthenticatedError:
        return False
    return True


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "public key as PEM"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "public key as PEM"),
        (private_pem(ec_key()), "public key as PEM"),
        (public_pem(rsa_key("weak", 1_024)), "at least 2048 bits"),
    ],
)
def test_bad_key_files(text: str, expected: str) -> None:
    """A file without a usable public key is rejected with the reason."""
    with pytest.raises(ValueError, match=expected):
        read_public_key(text)


@pytest.mark.parametrize("text", ["", "[]", "{}", "x", '{"keys": {}}', '{"keys": null}', "[" * 5_000])
def test_not_a_key_set(text: str) -> None:
    """A file that is not a JWKS is rejected, without the texts of libraries."""
    with pytest.raises(ValueError, match=r"^must hold a JWKS, JSON such as"):
        read_key_set(text)


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ([], None),
        ([1], "keys[0]: it is not a JSON object"),
        ([{}], "keys[0]: its kty is not RSA or EC"),
        ([ED25519], "ed: its kty is not RSA or EC"),
        ([described(ec_key(), use="enc")], "one: its use is not sig"),
        ([described(ec_key()) | {"kid": None}, described(rsa_key()) | {"kid": None}], "(no kid): without a kid"),
    ],
)
def test_no_usable_key(entries: list[object], reason: str | None) -> None:
    """A JWKS without a usable key is rejected with the reason of each key."""
    with pytest.raises(ValueError, match=r"^must hold an RSA or P-256 key for signatures") as caught:
        read_key_set(json.dumps({"keys": entries}))

    assert (reason or "signatures") in str(caught.value)


@pytest.mark.parametrize(
    "secret",
    [
        {"kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0", "kid": "s"},
        json.loads(jwt.algorithms.ECAlgorithm.to_jwk(ec_key())),
        json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(rsa_key())),
        json.loads(jwt.algorithms.OKPAlgorithm.to_jwk(ed25519.Ed25519PrivateKey.generate())),
    ],
    ids=["secret", "EC", "RSA", "OKP"],
)
def test_private_key(secret: dict[str, object]) -> None:
    """A JWKS with a secret or a private key is rejected, and nothing of the key is shown."""
    for entries in ([secret], [described(ec_key()), secret], [secret, described(ec_key())]):
        with pytest.raises(ValueError, match=r"^must hold public keys only") as caught:
            read_key_set(json.dumps({"keys": entries}))
        assert str(secret.get("k") or secret["d"]) not in str(caught.value)


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (ED25519, "its kty is not RSA or EC"),
        ({"kty": "AKP", "alg": "ML-DSA-44", "pub": "AA", "kid": "x"}, "its kty is not RSA or EC"),
        (described(ec.generate_private_key(ec.SECP384R1())), "only RSA keys and keys of the curve P-256 are used"),
        (described(ec.generate_private_key(ec.SECP256K1())), "only RSA keys and keys of the curve P-256 are used"),
        (described(rsa_key("weak", 1_024)), "an RSA key must have at least 2048 bits, not 1024"),
        (described(rsa_key(), alg="RS512"), "its alg is not RS256"),
        (described(rsa_key(), alg="PS256"), "its alg is not RS256"),
        (described(rsa_key(), alg="RSA-OAEP"), "its alg is not RS256"),
        (described(ec_key(), alg="ES384"), "its alg is not ES256"),
        (described(ec_key(), alg=["ES256"]), "its alg is not ES256"),
        (described(ec_key(), use="enc"), "its use is not sig"),
        (described(ec_key(), use=1), "its use is not sig"),
        (described(ec_key(), key_ops=["encrypt"]), "its key_ops do not have verify"),
        (described(ec_key(), key_ops=[]), "its key_ops do not have verify"),
        (described(ec_key(), key_ops="verify"), "its key_ops do not have verify"),
        (described(ec_key(), x="AA"), "it is malformed"),
        (described(ec_key(), x=1), "it is malformed"),
        (described(ec_key(), x=None), "it is malformed"),
        (described(ec_key(), crv="P-999"), "it is malformed"),
        (described(ec_key(), kty="RSA"), "it is malformed"),
        (described(rsa_key(), n="!"), "it is malformed"),
        (described(rsa_key(), e="AA"), "it is malformed"),
        (described(ec_key(), kty=["EC"]), "its kty is not RSA or EC"),
    ],
)
def test_skipped_key(other: dict[str, object], reason: str) -> None:
    """An unusable key is skipped with its name; tokens by the other keys are valid, those by it are not."""
    usable = described(rsa_key("usable"), kid="usable")
    for entries in ([other, usable], [usable, other]):
        keys = read_key_set(json.dumps({"keys": entries}))

        assert list(keys.skipped) == [(other["kid"], reason)]
        assert trusted(keys, signed(rsa_key("usable"), "RS256", "usable"))
        assert trusted(keys, signed(rsa_key("usable"), "RS256"))
        for forged in (
            signed(rsa_key("usable"), "RS256", str(other["kid"])),
            signed(rsa_key(), "RS256", str(other["kid"])),
        ):
            assert not trusted(keys, forged)


@pytest.mark.parametrize(
    "extra", [{"use": "sig"}, {"use": None}, {"key_ops": ["sign", "verify"]}, {"x5c": 1}, {"alg": None}]
)
def test_irrelevant_members(extra: dict[str, object]) -> None:
    """Unknown members, and those that allow the use, do not cause a key to be skipped."""
    for key, algorithm in ((rsa_key(), "RS256"), (ec_key(), "ES256")):
        keys = read_key_set(json.dumps({"keys": [described(key, **({"alg": algorithm} | extra))]}))

        assert list(keys.skipped) == []
        assert trusted(keys, signed(key, algorithm, "one"))
        assert trusted(keys, signed(key, algorithm, "another"))


def test_equal_names() -> None:
    """Of two keys of one type with the same `kid` the first is used; keys of different types may share a `kid`."""
    keys = read_key_set(json.dumps({"keys": [described(key) for key in (ec_key(), rsa_key(), ec_key("two"))]}))

    assert list(keys.skipped) == [("one", "another key of its kind before it has the same kid")]
    assert trusted(keys, signed(ec_key(), "ES256", "one"))
    assert trusted(keys, signed(rsa_key(), "RS256", "one"))
    assert not trusted(keys, signed(ec_key("two"), "ES256", "one"))


@pytest.mark.parametrize("kid", [None, 1, ["one"], {}])
def test_key_without_kid(kid: object) -> None:
    """A key without a `kid` is used if it is the only one; among others no token can name it."""
    alone = read_key_set(json.dumps({"keys": [described(ec_key()) | {"kid": kid}]}))
    among = read_key_set(json.dumps({"keys": [described(ec_key()) | {"kid": kid}, described(rsa_key())]}))

    assert trusted(alone, signed(ec_key(), "ES256", "any"))
    assert list(among.skipped) == [("(no kid)", "without a kid no token can name it among others")]
    assert not trusted(among, signed(ec_key(), "ES256"))


@pytest.mark.parametrize(("header", "instead"), [("PRIVATE KEY", "a private key"), ("CERTIFICATE", "a certificate")])
def test_another_kind_of_pem(header: str, instead: str) -> None:
    """A private key or a certificate in place of the public key is named in the error."""
    with pytest.raises(ValueError, match=f"as PEM, not {instead}"):
        read_public_key(f"-----BEGIN {header}-----\nAAAA\n-----END {header}-----\n")


def test_short_secret() -> None:
    """A secret that is too short is rejected."""
    with pytest.raises(ValueError, match="at least 32 bytes"):
        read_secret("x" * 31)
