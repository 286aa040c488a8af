"""Keys that tokens are checked with. The kind of a key fixes the one algorithm it is good for, whatever a token says.

A secret: HS256. A public key or a JWKS (RFC 7517): RS256 for RSA, ES256 for the curve P-256.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

SECRET_BYTES_MIN = 32
RSA_BITS_MIN = 2_048
# What only a key that is not public has (RFC 7518, 6; RFC 8037).
SECRETS = frozenset({"d", "k", "p", "q", "dp", "dq", "qi", "oth", "priv"})
READERS: dict[str, Callable[[dict[str, Any]], object]] = {
    "RSA": jwt.algorithms.RSAAlgorithm.from_jwk,
    "EC": jwt.algorithms.ECAlgorithm.from_jwk,
}
INSTEAD = {
    "PRIVATE KEY-----": "a private key: that stays with the issuer",
    "BEGIN CERTIFICATE": "a certificate: `openssl x509 -pubkey -noout` writes its key",
}
# Of keys left out, in the message that none is left.
REASONS_MAX = 5


class KeyNotUsedError(ValueError):
    """A key is of no use here; the text says why."""


@dataclass(frozen=True, repr=False)
class Key:
    """A key and its algorithm; never shown, for it may be a secret."""

    algorithm: str
    material: RSAPublicKey | EllipticCurvePublicKey | bytes


@dataclass(frozen=True, repr=False)
class Keys:
    """The keys in force: one for every token, or several, named by `kid` and, where two share it, by algorithm.

    `left_out` are the keys of a JWKS that are not used, by name, with the reason.
    """

    only: Key | None
    by_id: Mapping[tuple[str, str], Key]
    left_out: Sequence[tuple[str, str]] = ()

    def find(self, name: object, algorithm: object) -> Key | None:
        """Return the key that a token's header names, or the only one there is."""
        if self.only is not None and name not in [left_out for left_out, _reason in self.left_out]:
            return self.only
        if not isinstance(name, str) or not isinstance(algorithm, str):
            return None
        # With one of another algorithm the refusal can say that it is another.
        return self.by_id.get((name, algorithm)) or next(
            (key for (kid, _), key in self.by_id.items() if kid == name), None
        )


def read_secret(secret: str) -> Keys:
    """Return the key of a shared secret; ValueError when it is too short for HS256 (RFC 7518, 3.2)."""
    if len(secret.encode()) < SECRET_BYTES_MIN:
        raise ValueError(f"must have at least {SECRET_BYTES_MIN} bytes")
    return Keys(Key("HS256", secret.encode()), {})


def read_public_key(text: str) -> Keys:
    """Return the key of a PEM text; ValueError says what is wrong with it."""
    for words, instead in INSTEAD.items():
        if words in text:
            raise ValueError(f"must hold a public key as PEM, not {instead}")
    try:
        material = load_pem_public_key(text.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError("must hold a public key as PEM (-----BEGIN PUBLIC KEY-----)") from error
    return Keys(key_of(material), {})


def read_key_set(text: str) -> Keys:
    """Return the keys of a JWKS that can check signatures here; ValueError when there is none, or one is secret.

    Issuers publish keys of many kinds, so one that is of no use here is left out. A private key or a secret in a file
    of public keys is another matter: whoever made the file has given it away, and should learn of it now.
    """
    usable: dict[tuple[str, str], Key] = {}
    unnamed: list[Key] = []
    left_out: list[tuple[str, str]] = []
    for position, entry in enumerate(entries(text)):
        name = name_of(entry, position)
        try:
            key = read_entry(entry)
        except KeyNotUsedError as error:
            left_out.append((name, str(error)))
            continue
        kid = entry.get("kid")
        if not isinstance(kid, str):
            unnamed.append(key)
        elif (kid, key.algorithm) in usable:
            left_out.append((name, "another key of its kind before it has the same kid"))
        else:
            usable[kid, key.algorithm] = key
    if not usable and len(unnamed) == 1:
        return Keys(unnamed[0], {}, left_out)
    left_out += [("(no kid)", "without a kid no token can name it among others")] * len(unnamed)
    if not usable:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in left_out[:REASONS_MAX])
        raise ValueError(
            f"must hold an RSA or P-256 key for signatures{' (' * bool(reasons)}{reasons}{')' * bool(reasons)}"
        )
    only = next(iter(usable.values())) if len(usable) == 1 else None
    return Keys(only, usable, left_out)


def entries(text: str) -> list[Any]:
    """Return the keys of a JWKS as they stand there."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError('must hold a JWKS, JSON such as {"keys": [...]}') from error
    keys = found.get("keys") if isinstance(found, dict) else None
    if not isinstance(keys, list):
        raise ValueError('must hold a JWKS, JSON such as {"keys": [...]}')  # noqa: TRY004 -- for pydantic
    return keys


def name_of(entry: object, position: int) -> str:
    """Return what a key is called in a message."""
    kid = entry.get("kid") if isinstance(entry, dict) else None
    return kid if isinstance(kid, str) else f"keys[{position}]"


def read_entry(entry: object) -> Key:
    """Return a key of a JWKS; KeyNotUsedError says why it is left out, ValueError that it must not be there."""
    if not isinstance(entry, dict):
        raise KeyNotUsedError("it is not a JSON object")
    if SECRETS & entry.keys():
        raise ValueError("must hold public keys only, but there is a private key or a secret in it")
    if entry.get("use") not in (None, "sig"):
        raise KeyNotUsedError("its use is not sig")
    operations = entry.get("key_ops")
    if operations is not None and not (isinstance(operations, list) and "verify" in operations):
        raise KeyNotUsedError("its key_ops do not have verify")
    read = READERS.get(str(entry.get("kty")))
    if read is None:
        raise KeyNotUsedError("its kty is not RSA or EC")
    try:
        key = key_of(read(entry))
    except KeyNotUsedError:
        raise
    # What a malformed number makes the libraries raise.
    except (jwt.PyJWTError, UnsupportedAlgorithm, ValueError, TypeError, KeyError, OverflowError) as error:
        raise KeyNotUsedError("it is malformed") from error
    if entry.get("alg") not in (None, key.algorithm):
        raise KeyNotUsedError(f"its alg is not {key.algorithm}")
    return key


def key_of(material: object) -> Key:
    """Return a public key with its algorithm; KeyNotUsedError, a ValueError, when it is of another kind."""
    if isinstance(material, RSAPublicKey):
        if material.key_size < RSA_BITS_MIN:
            raise KeyNotUsedError(f"an RSA key must have at least {RSA_BITS_MIN} bits, not {material.key_size}")
        return Key("RS256", material)
    if isinstance(material, EllipticCurvePublicKey) and isinstance(material.curve, SECP256R1):
        return Key("ES256", material)
    raise KeyNotUsedError("only RSA keys and keys of the curve P-256 are used")


def read_file(path: str) -> str:
    """Return a file's text; ValueError when it cannot be read."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from error
    except ValueError as error:  # a path with a NUL, or bytes that are not UTF-8
        raise ValueError("cannot be read as text") from error
