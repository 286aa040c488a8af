"""Which keys ingest takes from its settings, and which it refuses or leaves out."""

from __future__ import annotations

import jwt
import pytest

from services.ingest.keys import read_key_set, read_public_key, read_secret
from tests.support.tokens import ec_key, jwks, private_pem, public_pem, rsa_key


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "public key as PEM"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "public key as PEM"),
        (private_pem(ec_key()), "public key as PEM"),
        (public_pem(rsa_key("weak", 1_024)), "at least 2048 bits"),
    ],
)
def test_bad_key_files(text: str, words: str) -> None:
    """A file that holds no public key we can trust is refused with the reason."""
    with pytest.raises(ValueError, match=words):
        read_public_key(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"keys": []}',
        '{"keys": [1]}',
        '{"keys": [{"kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"}]}',
        jwks(("one", ec_key()), use="enc"),
        jwks(("one", ec_key()), ("one", ec_key("two"))),
        '{"keys": [' + str(jwt.algorithms.ECAlgorithm.to_jwk(ec_key())) + "]}",
    ],
)
def test_bad_key_sets(text: str) -> None:
    """A JWKS without a public key for signatures, with equal names, or with secrets or private keys is refused."""
    with pytest.raises(ValueError, match=r"must hold|only public"):
        read_key_set(text)


def test_short_secret() -> None:
    """A secret that can be guessed is refused."""
    with pytest.raises(ValueError, match="at least 32 bytes"):
        read_secret("x" * 31)
