"""Tokens for tests: valid ones, and those that an attacker would forge."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

SECRET = "a shared secret of more than 32 bytes"  # noqa: S105 -- of tests
OTHER_SECRET = "another secret that is also long enough"  # noqa: S105 -- for tests
USER = "1ec4cd73-2fd5-4f25-af68-b6595d279af2"
# Tokens may be made when tests are collected, long before they run.
DAY_SECONDS = 86_400


@cache
def rsa_key(name: str = "one", bits: int = 2_048) -> rsa.RSAPrivateKey:
    """Return an RSA key; the same name gives the same key."""
    del name
    return rsa.generate_private_key(public_exponent=65_537, key_size=bits)


@cache
def ec_key(name: str = "one") -> ec.EllipticCurvePrivateKey:
    """Return a key of the curve P-256; the same name gives the same key."""
    del name
    return ec.generate_private_key(ec.SECP256R1())


def public_pem(key: Any) -> str:
    """Return the public key as PEM."""
    pem: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return pem.decode()


def private_pem(key: Any) -> str:
    """Return the private key as PEM."""
    pem: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return pem.decode()


def jwks(*keys: tuple[str, Any], **extra: Any) -> str:
    """Return a JWKS of the public keys, with their names."""
    return json.dumps({"keys": [described(key, **({"kid": name} | extra)) for name, key in keys]})


def described(key: Any, **members: Any) -> dict[str, Any]:
    """Return the public key as an entry of a JWKS, with a name and further members."""
    kind: Any = jwt.algorithms.RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else jwt.algorithms.ECAlgorithm
    found: dict[str, Any] = kind.to_jwk(key.public_key(), as_dict=True)
    return found | {"kid": "one"} | members


def claims(**changes: Any) -> dict[str, Any]:
    """Return the claims of a valid token with changes; None removes a claim."""
    now = int(time.time())
    found = {"sub": USER, "iat": now, "exp": now + DAY_SECONDS} | changes
    return {name: value for name, value in found.items() if value is not None}


def signed(key: Any = SECRET, algorithm: str = "HS256", kid: str | None = None, **changes: Any) -> str:
    """Return a signed token."""
    return jwt.encode(claims(**changes), key, algorithm, headers={"kid": kid} if kid else None)


def unsigned(**changes: Any) -> str:
    """Return a token with `alg: none`."""
    return f"{part({'alg': 'none', 'typ': 'JWT'})}.{part(claims(**changes))}."


def confused(public: str, **changes: Any) -> str:
    """Return a token whose HS256 signature uses the text of a public key as the secret."""
    body = f"{part({'alg': 'HS256', 'typ': 'JWT'})}.{part(claims(**changes))}"
    return f"{body}.{hs256(public, body)}"


def hs256(secret: str, body: str) -> str:
    """Return the HS256 signature of a token's first two parts."""
    return encoded(hmac.new(secret.encode(), body.encode(), hashlib.sha256).digest())


def part(value: dict[str, Any]) -> str:
    """Return a part of a token."""
    return encoded(json.dumps(value).encode())


def encoded(data: bytes) -> str:
    """Return base64 as tokens use it."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
