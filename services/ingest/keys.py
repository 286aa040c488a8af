"""Keys that tokens are checked with. The kind of a key fixes the one algorithm it is good for, whatever a token says.

A secret: HS256. A public key or a JWKS (RFC 7517): RS256 for RSA, ES256 for the curve P-256.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

SECRET_BYTES_MIN = 32
RSA_BITS_MIN = 2_048
SIGNATURES = (None, "sig")


@dataclass(frozen=True, repr=False)
class Key:
    """A key and its algorithm; never shown, for it may be a secret."""

    algorithm: str
    material: RSAPublicKey | EllipticCurvePublicKey | bytes


@dataclass(frozen=True, repr=False)
class Keys:
    """The keys in force: one for every token, or several told apart by their `kid`."""

    only: Key | None
    by_id: Mapping[str, Key]

    def find(self, name: object) -> Key | None:
        """Return the key that a token's header names, or the only one there is."""
        if self.only is not None:
            return self.only
        return self.by_id.get(name) if isinstance(name, str) else None


def read_secret(secret: str) -> Keys:
    """Return the key of a shared secret; ValueError when it is too short for HS256 (RFC 7518, 3.2)."""
    if len(secret.encode()) < SECRET_BYTES_MIN:
        raise ValueError(f"must have at least {SECRET_BYTES_MIN} bytes")
    return Keys(Key("HS256", secret.encode()), {})


def read_public_key(text: str) -> Keys:
    """Return the key of a PEM text; ValueError says what is wrong with it."""
    try:
        return Keys(key_of(load_pem_public_key(text.encode())), {})
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError(f"must hold a public key as PEM (-----BEGIN PUBLIC KEY-----): {error}") from error


def read_key_set(text: str) -> Keys:
    """Return the keys of a JWKS that are for signatures; ValueError says what is wrong with it."""
    try:
        found = jwt.PyJWKSet.from_json(text).keys
    except (jwt.PyJWTError, ValueError, AttributeError, TypeError) as error:
        raise ValueError(f"must hold a JWKS with an RSA or P-256 key: {error}") from error
    named = [(key.key_id, key_of(key.key)) for key in found if key.public_key_use in SIGNATURES]
    if len(named) == 1:
        return Keys(named[0][1], {})
    by_id = {name: key for name, key in named if name}
    if not named or len(by_id) < len(named):
        raise ValueError("must hold a key for signatures, and several must have different `kid`")
    return Keys(None, by_id)


def key_of(material: object) -> Key:
    """Return a public key with its algorithm; ValueError when we take none of its kind."""
    if isinstance(material, RSAPublicKey):
        if material.key_size < RSA_BITS_MIN:
            raise ValueError(f"an RSA key must have at least {RSA_BITS_MIN} bits, not {material.key_size}")
        return Key("RS256", material)
    if isinstance(material, EllipticCurvePublicKey) and isinstance(material.curve, SECP256R1):
        return Key("ES256", material)
    raise ValueError("only public RSA and P-256 keys are taken, no secret, private or other keys")


def read_file(path: str) -> str:
    """Return a file's text; ValueError when it cannot be read."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot be read: {error}") from error
